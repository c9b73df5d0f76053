"""The Hawkes intensity process: expected counts a time step (Rizoiu et al., WWW 2017).

    xi(0) = gamma
    xi(t) = eta + mu s(t) + sum_{u=1..t} phi(u) xi(t - u)
    phi(u) = C (u + c)^-(1 + theta)

`xi(t)` is the expected count of step t (there: views of a day), `s(t)` a promotion series (shares),
`mu s(0)` included in xi(0). The recursion is linear in gamma, eta and mu, so that with the kernel's
response to a unit impulse, `R = 1 + phi * R`,

    xi = gamma R + eta sum_{u<t} R(u) + mu (R * s)(t).

Videos may share a kernel and mu; gamma and eta are each video's own. Given (kernel, mu) they solve
a non-negative least-squares problem in closed form; what is shared is sought by Nelder and Mead's
method from the best points of a grid (`search`). Kernels are kept subcritical: the branching ratio,
the sum of phi over all steps, stays below 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numba import njit
from scipy.optimize import minimize
from scipy.special import expit, logit, zeta

MAX_BRANCHING = 0.999
LOG_CUTOFF = np.log(1e-3), np.log(1e2)  # c, steps
LOG_THETA = np.log(1e-2), np.log(50.0)
LOG_MU = -20.0, 5.0  # relative to counts a unit of promotion
STARTS = 2


@dataclass(frozen=True)
class Kernel:
    """Power-law memory.

    Attributes
    ----------
    branching : float
        Sum of phi over all steps: offspring of one count.
    c, theta : float
        Cutoff (steps) and exponent.
    """

    branching: float
    c: float
    theta: float

    def phi(self, steps: int) -> np.ndarray:
        """phi(1), ..., phi(steps)."""
        u = np.arange(1, steps + 1)
        # relative to the first lag: a large theta would under- and overflow
        shape = np.exp(-(1.0 + self.theta) * (np.log(u + self.c) - np.log1p(self.c)))
        q = 1.0 + self.c
        return self.branching * shape / (float(zeta(1.0 + self.theta, q)) * q ** (1.0 + self.theta))

    def response(self, steps: int) -> np.ndarray:
        """R(0), ..., R(steps - 1): expected counts after a single one at step 0."""
        return _response(self.phi(steps))


@njit(cache=True)
def _response(phi):  # type: ignore[no-untyped-def]
    response = np.zeros(len(phi))
    for t in range(len(phi)):
        value = 1.0 if t == 0 else 0.0
        for u in range(1, t + 1):
            value += phi[u - 1] * response[t - u]
        response[t] = value
    return response


@dataclass(frozen=True)
class Windows:
    """What was observed of N videos in steps that end at their clocks; column W - 1 is the last.

    Attributes
    ----------
    count : ndarray (N, W)
        Counts of each step; those of the first reading stand for all that came before.
    promotion : ndarray (N, W)
        Counts of the promotion series.
    steps : ndarray (N,) of int
        Steps from publication to the clock, at least 1.
    first : ndarray (N,) of int
        Column of the first reading; earlier columns are not used.
    weight : ndarray (N, W)
        Weight of each squared error.
    """

    count: np.ndarray
    promotion: np.ndarray
    steps: np.ndarray
    first: np.ndarray
    weight: np.ndarray

    def select(self, rows: np.ndarray) -> "Windows":
        """The videos at `rows`."""
        parts = (self.count, self.promotion, self.steps, self.first, self.weight)
        return Windows(*(part[rows] for part in parts))

    def columns(self, response: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What gamma, eta and mu multiply, each (N, W): first reading summed, 0 before it."""
        n, width = self.count.shape
        column = np.arange(width)
        t = self.steps[:, None] - width + column
        total = np.concatenate([[0.0], np.cumsum(response)])  # sum of R before step t
        used = (column >= self.first[:, None]) & (t >= 0)
        at = np.where(used, t, 0)
        pooled = column == self.first[:, None]
        twice = np.concatenate([[0.0], np.cumsum(total)])  # sum over v < t of total(v)
        impulse = np.where(pooled, total[at + 1], response[at]) * used
        constant = np.where(pooled, twice[at + 1], total[at]) * used
        if not self.promotion.any():
            return impulse, constant, np.zeros((n, width))
        lag = column[None, :] - column[:, None]
        toeplitz = np.where(lag >= 0, response[np.maximum(lag, 0)], 0.0)
        promoted = self.promotion @ toeplitz
        earlier = np.take_along_axis(np.cumsum(promoted, 1), self.first[:, None], 1)
        return impulse, constant, np.where(pooled, earlier, promoted) * used


@dataclass(frozen=True)
class HIP:
    """A fitted process: what the videos share.

    Attributes
    ----------
    kernel : Kernel
    mu : float
        Counts that one unit of promotion brings, offspring not included.
    """

    kernel: Kernel
    mu: float

    def own(self, windows: Windows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """gamma (N,), eta (N,) and the weighted squared error (N,) of each video."""
        response = self.kernel.response(int(windows.steps.max(initial=1)) + 1)
        A, B, P = windows.columns(response)
        return _two_nonnegative(A, B, windows.count - self.mu * P, windows.weight)


def expected_after(process: HIP, windows: Windows, lead: np.ndarray) -> np.ndarray:
    """Expected counts (N, H) in the `lead` (N, H) steps after the clock, without new promotion.

    A lead need not be whole: expected counts are spread evenly within a step.
    """
    gamma, eta, _ = process.own(windows)
    age, width = windows.steps, windows.count.shape[1]
    length = int(np.ceil(lead.max(initial=0.0))) + int(age.max(initial=1)) + 2
    total = np.concatenate([[0.0], np.cumsum(process.kernel.response(length))])
    twice = np.concatenate([[0.0], np.cumsum(total)])
    lag = width - np.arange(width)  # steps from the begin of each column to the clock

    def since(sums: np.ndarray, start: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        return np.interp(start + ahead, np.arange(len(sums)), sums) - sums[start]

    out = np.empty_like(lead)
    for h, ahead in enumerate(lead.T):
        out[:, h] = gamma * since(total, age, ahead) + eta * since(twice, age, ahead)
        if process.mu:
            promoted = since(total, lag[None, :], ahead[:, None]) * windows.promotion
            out[:, h] += process.mu * promoted.sum(1)
    return out


def fit(windows: Windows, evaluations: int = 300) -> HIP:
    """The process of least weighted squared error over all videos, with gamma, eta, mu >= 0.

    `evaluations` is the most that a start of the search may take.
    """
    promoted = bool(windows.promotion.any())
    ratio = windows.count.sum() / windows.promotion.sum() if promoted else 0.0
    return search(lambda process: float(process.own(windows)[2].sum()), ratio, evaluations)


def search(
    loss: Callable[[HIP], float], ratio: float, evaluations: int, start: HIP | None = None
) -> HIP:
    """The process of least loss.

    Parameters
    ----------
    loss : callable
        Of a process.
    ratio : float
        Scale of mu: counts a unit of promotion; 0 where there is none, and mu is 0 then.
    evaluations : int
        The most of them from one start.
    start : HIP, optional
        One more start, beside the best `STARTS` points of the grid.
    """

    def process(x: np.ndarray) -> HIP:
        branching = MAX_BRANCHING * expit(x[0])
        c, theta = np.exp(np.clip(x[1], *LOG_CUTOFF)), np.exp(np.clip(x[2], *LOG_THETA))
        mu = ratio * np.exp(np.clip(x[3], *LOG_MU)) if ratio else 0.0
        return HIP(Kernel(float(branching), float(c), float(theta)), float(mu))

    def value(x: np.ndarray) -> float:
        return loss(process(x))

    shares = (-6.0, -1.5, -0.3) if ratio else (0.0,)
    grid = [np.array(x) for x in product((-1.5, 0.5, 3.0), (-2.0, 1.0), (-1.0, 0.5, 2.5), shares)]
    starts = sorted(grid, key=value)[:STARTS]
    if start is not None:
        kernel = start.kernel
        share = np.log(max(start.mu / ratio, np.exp(LOG_MU[0]))) if ratio else 0.0
        odds = logit(np.clip(kernel.branching / MAX_BRANCHING, 1e-4, 1 - 1e-4))
        starts.append(np.array([odds, np.log(kernel.c), np.log(kernel.theta), share]))
    options = {"maxfev": evaluations, "xatol": 1e-3, "fatol": 0.0}
    ends = [
        minimize(value, x if ratio else x[:3], method="Nelder-Mead", options=options)
        for x in starts
    ]
    return process(min(ends, key=lambda end: float(end.fun)).x)


def _two_nonnegative(
    A: np.ndarray, B: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows' non-negative least squares `y ~ a A + b B`: a (N,), b (N,), weighted error (N,)."""
    aa, ab, bb = ((weight * p * q).sum(1) for p, q in ((A, A), (A, B), (B, B)))
    ay, by = ((weight * p * y).sum(1) for p in (A, B))
    tiny = 1e-12
    alone_a = np.maximum(ay, 0.0) / np.maximum(aa, tiny)
    alone_b = np.maximum(by, 0.0) / np.maximum(bb, tiny)
    determinant = aa * bb - ab**2
    regular = determinant > 1e-9 * aa * bb
    safe = np.where(regular, determinant, 1.0)
    a, b = (ay * bb - by * ab) / safe, (by * aa - ay * ab) / safe
    inside = regular & (a >= 0) & (b >= 0)
    # otherwise the minimum lies on an edge: the better of the two
    better_a = alone_a * np.maximum(ay, 0.0) >= alone_b * np.maximum(by, 0.0)
    a = np.where(inside, a, np.where(better_a, alone_a, 0.0))
    b = np.where(inside, b, np.where(better_a, 0.0, alone_b))
    error = (weight * (y - a[:, None] * A - b[:, None] * B) ** 2).sum(1)
    return a, b, error
