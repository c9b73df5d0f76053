"""The classical log likelihood and its derivatives in one pass over the events, compiled.

    lambda_k(t) = mu_k + sum_{m,l} alpha[m,k,l] beta_m S[m,l](t)
    S[m,l](t)   = sum_{t_j < t, k_j = l} g_j exp(-beta_m (t - t_j))

What an event sees of the past is the vector `z = (1, beta S)`, so that `lambda_k = theta_k . z`
with `theta_k = (mu_k, alpha[:, k, :])`: concave in `theta`, separate in the receivers `k`. `z` is
carried forward and nothing is stored per event. `beta int S` over a window is the weight of its
events less `S` at its end, so integrals need no exponential of their own. Derivatives in `log beta`
carry `y = beta^2 sum g_j (t - t_j) exp(-beta (t - t_j))`, the lag-weighted twin of `z`.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import get_num_threads, njit

from m3tr.errors import InputError
from m3tr.hawkes.events import EventBatch
from m3tr.hawkes.events import weight as mark_weight

# sums are taken within and then over blocks of whole sequences: their number must not depend on
# the number of threads, or the last digits would
BLOCKS = 32
# waking the threads takes longer than a pass over fewer events
SMALL = 50_000


@dataclass(frozen=True)
class Sequences:
    """`B` event sequences laid end to end: the events of sequence `b` are `offsets[b:b + 2]`.

    Events ascend within a sequence; equal times are simultaneous and do not see each other. An
    event at time 0 is history: it excites and is not scored. The unit of time is the caller's.

    Raises
    ------
    InputError
        Where lengths disagree, a value is not finite, an event lies outside its window or before
        the one ahead of it, a kind is negative or a weight not positive.
    """

    time: np.ndarray  # (N,) float64, since the start of the sequence's window
    kind: np.ndarray  # (N,) int64
    weight: np.ndarray  # (N,) float64, g of the event's count
    offsets: np.ndarray  # (B + 1,) int64
    end: np.ndarray  # (B,) float64, length of each window

    def __post_init__(self) -> None:
        for name, kind in (("time", np.float64), ("kind", np.int64), ("weight", np.float64),
                           ("offsets", np.int64), ("end", np.float64)):  # fmt: skip
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=kind))
        n, B = len(self.time), len(self.end)
        if len(self.kind) != n or len(self.weight) != n or self.offsets.shape != (B + 1,):
            raise InputError("sequences: time, kind and weight, or offsets and end, do not match.")
        if self.offsets[0] != 0 or self.offsets[-1] != n or (np.diff(self.offsets) < 0).any():
            raise InputError("sequences: offsets must ascend from 0 to the number of events.")
        if not (np.isfinite(self.end) & (self.end >= 0)).all():
            raise InputError("sequences: every window needs a finite, non-negative end.")
        bad = _first_bad(self.time, self.kind, self.weight, self.offsets, self.end)
        if bad >= 0:
            raise InputError(
                f"sequences: event {bad} (time {self.time[bad]}, kind {self.kind[bad]}, weight "
                f"{self.weight[bad]}) is out of order, outside its window or not positive."
            )

    @classmethod
    def of(cls, events: EventBatch, marks: str = "log") -> "Sequences":
        """The sequences of a padded batch; `marks` as in `HawkesSettings`."""
        on = events.mask
        offsets = np.concatenate([[0], events.lengths.cumsum(0).numpy()])
        g = mark_weight(events.count[on], marks).numpy()
        return cls(events.time[on].numpy(), events.kind[on].numpy(), g, offsets, events.end.numpy())

    @classmethod
    def single(cls, time: np.ndarray, kind: np.ndarray, end: float) -> "Sequences":
        """One sequence of events of weight 1 on `(0, end]`, as `simulate` returns them."""
        return cls(time, kind, np.ones(len(time)), np.array([0, len(time)]), np.array([end]))

    def scaled(self, unit: float) -> "Sequences":
        """The same sequences with time measured in `unit`."""
        return Sequences(self.time / unit, self.kind, self.weight, self.offsets, self.end / unit)

    @property
    def edges(self) -> np.ndarray:
        """First sequence of each block, and the end: blocks of about as many events each."""
        blocks = BLOCKS if len(self.time) > SMALL else 1
        share = np.linspace(0, len(self.time) + len(self.end), blocks + 1)
        load = self.offsets + np.arange(len(self.offsets))  # an empty window costs something too
        return np.unique(np.searchsorted(load, share))


class Derivatives(NamedTuple):
    """Log likelihood and first derivatives; the unit of time is that of the sequences."""

    total: float
    mu: np.ndarray  # (K,)
    alpha: np.ndarray  # (M, K, K) [scale, receiver, source]
    log_beta: np.ndarray  # (M,), at fixed alpha: the jump alpha beta moves with beta


class Pass(NamedTuple):
    """What one pass yields, in the coordinates `theta` (K, Q), Q = 1 + M K."""

    value: np.ndarray  # (K,) sum of log intensities at the events of each receiver
    gradient: np.ndarray  # (K, Q) its derivative in theta
    hessian: np.ndarray  # (K, Q, Q) minus its second derivative; empty unless asked for
    integral: np.ndarray  # (Q,) the compensator of receiver k is theta_k . integral
    slope: np.ndarray  # (M,) derivative of value - compensator in log beta; nan unless asked for


def log_likelihood(
    data: Sequences, mu: np.ndarray, alpha: np.ndarray, beta: np.ndarray
) -> Derivatives:
    """Exact log likelihood and gradient, O(N M K) in time, O(M K^2) in memory.

    Parameters
    ----------
    data : Sequences
    mu : (K,) array
        Background, events per unit of time.
    alpha : (M, K, K) array
        `[scale, receiver, source]`, dimensionless: the jump of the intensity is `alpha beta g`.
    beta : (M,) array
        Decay rates per unit of time.

    Raises
    ------
    InputError
        Where a shape or a sign is wrong, or an event is of a kind beyond `K`.
    """
    theta, beta = pack(mu, alpha), np.ascontiguousarray(beta, dtype=np.float64)
    if theta.shape[1] != 1 + len(beta) * len(theta) or not (beta > 0).all() or (theta < 0).any():
        raise InputError("hawkes: mu (K,), alpha (M, K, K) >= 0 and beta (M,) > 0 do not match.")
    if len(data.kind) and data.kind.max() >= len(theta):
        raise InputError(f"hawkes: an event has kind {data.kind.max()} of {len(theta)} kinds.")
    found = one_pass(data, theta, beta, slopes=True)
    total = float(found.value.sum() - (theta @ found.integral).sum())
    d_mu, d_alpha = unpack(found.gradient - found.integral, len(beta))
    return Derivatives(total, d_mu, d_alpha, found.slope)


def pack(mu: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`mu` (K,) and `alpha` (M, K, K) as `theta` (K, 1 + M K)."""
    flat = np.moveaxis(np.asarray(alpha, dtype=np.float64), 1, 0).reshape(len(mu), -1)
    return np.column_stack([np.asarray(mu, dtype=np.float64), flat])


def unpack(theta: np.ndarray, scales: int) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `pack`."""
    K = len(theta)
    alpha = np.moveaxis(theta[:, 1:].reshape(K, scales, K), 0, 1)
    return theta[:, 0].copy(), np.ascontiguousarray(alpha)


def one_pass(
    data: Sequences,
    theta: np.ndarray,
    beta: np.ndarray,
    hessian: bool = False,
    slopes: bool = False,
    receivers: np.ndarray | None = None,
) -> Pass:
    """One pass over the events; only `receivers` (K,) bool are scored, by default all.

    A rate of zero at an event makes that receiver's value minus infinity.
    """
    K, Q = theta.shape
    on = np.ones(K, dtype=bool) if receivers is None else receivers
    edges = data.edges
    n = len(edges) - 1
    value, gradient, integral = np.zeros((n, K)), np.zeros((n, K, Q)), np.zeros((n, 2, Q))
    curved = np.zeros((n, K if hessian else 0, Q, Q))
    slope = np.zeros((n, len(beta)))

    def block(i: int) -> None:
        _block(
            i, data.time, data.kind, data.weight, data.offsets, data.end, edges, theta, beta, on,
            hessian, slopes, value, gradient, curved, integral, slope,
        )  # fmt: skip

    if n > 1:
        # the compiled code runs without the interpreter's lock: plain threads will do
        with ThreadPoolExecutor(min(n, get_num_threads())) as pool:
            list(pool.map(block, range(n)))
    else:
        for i in range(n):
            block(i)
    H = curved.sum(0)
    H = H + np.triu(H, 1).swapaxes(1, 2)
    area = integral.sum(0)
    by_scale = (theta[on].sum(0) * area[1])[1:].reshape(len(beta), K).sum(1)
    d_beta = slope.sum(0) - by_scale if slopes else np.full(len(beta), np.nan)
    return Pass(value.sum(0), gradient.sum(0), H, area[0], d_beta)


@njit(cache=True)
def _first_bad(time, kind, weight, offsets, end):  # type: ignore[no-untyped-def]
    for b in range(len(end)):
        last = 0.0
        for i in range(offsets[b], offsets[b + 1]):
            fits = last <= time[i] <= end[b] and 0.0 < weight[i] < np.inf and kind[i] >= 0
            if not fits:  # so written, a nan does not fit
                return i
            last = time[i]
    return -1


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _block(  # type: ignore[no-untyped-def]
    block, time, kind, weight, offsets, end, edges, theta, beta, on,
    curved, slopes, value, gradient, hessian, integral, slope,
):  # fmt: skip
    """The sums over one block of sequences, written to row `block` of the last five arrays."""
    K, Q = theta.shape
    M = len(beta)
    # local arrays: threads that write to neighbouring memory slow each other down
    z, y, fade, area = np.zeros(Q), np.zeros(Q), np.ones(Q), np.zeros((2, Q))
    total, product, g, d = np.zeros(K), np.ones(K), np.zeros((K, Q)), np.zeros(M)
    h = np.zeros((K if curved else 0, Q, Q))
    for b in range(edges[block], edges[block + 1]):
        z[:] = 0.0
        z[0] = 1.0
        y[:] = 0.0
        now = 0.0
        i, stop = offsets[b], offsets[b + 1]
        while i < stop:
            _fade(z, y, fade, beta, time[i] - now, K, slopes)
            now = time[i]
            first = i
            while i < stop and time[i] == now:
                k = kind[i]
                i += 1
                if not (now > 0.0 and on[k]):
                    continue
                rate = 0.0
                for q in range(Q):
                    rate += theta[k, q] * z[q]
                if not rate > 0.0:
                    total[k] = -np.inf
                    continue
                # a logarithm for every hundred orders of magnitude, not for every event
                if 1e-100 < rate < 1e100:
                    product[k] *= rate
                    if not 1e-100 < product[k] < 1e100:
                        total[k] += math.log(product[k])
                        product[k] = 1.0
                else:
                    total[k] += math.log(rate)
                inverse = 1.0 / rate
                for q in range(Q):
                    g[k, q] += inverse * z[q]
                if slopes:
                    _slope(z, y, theta, inverse, d, k)
                if curved:
                    _curve(z, inverse, h, k)
            # only now do simultaneous events enter the past
            for j in range(first, i):
                for m in range(M):
                    z[1 + m * K + kind[j]] += beta[m] * weight[j]
                    area[0, 1 + m * K + kind[j]] += weight[j]
        _fade(z, y, fade, beta, end[b] - now, K, slopes)
        area[0, 0] += end[b]
        for m in range(M):
            for q in range(1 + m * K, 1 + m * K + K):
                area[0, q] -= z[q] / beta[m]
                area[1, q] += y[q] / beta[m]
    value[block] = total + np.log(product)
    gradient[block] = g
    integral[block] = area
    slope[block] = d
    if curved:
        hessian[block] = h


@njit(cache=True, fastmath={"contract", "reassoc"})
def _fade(z, y, fade, beta, step, K, slopes):  # type: ignore[no-untyped-def]
    """Carry `z` and, for slopes, `y` forward by `step`."""
    for m in range(len(beta)):
        value = math.exp(-beta[m] * step)
        for q in range(1 + m * K, 1 + m * K + K):
            fade[q] = value
        if slopes:
            for q in range(1 + m * K, 1 + m * K + K):
                y[q] = value * (y[q] + beta[m] * step * z[q])
    for q in range(len(z)):
        z[q] *= fade[q]


@njit(cache=True, fastmath={"contract", "reassoc"})
def _slope(z, y, theta, inverse, d, k):  # type: ignore[no-untyped-def]
    """Add one event's derivative in `log beta` to `d`."""
    M, K = len(d), len(theta)
    for m in range(M):
        part = 0.0
        for q in range(1 + m * K, 1 + m * K + K):
            part += theta[k, q] * (z[q] - y[q])
        d[m] += inverse * part


@njit(cache=True, fastmath={"contract", "reassoc"})
def _curve(z, inverse, h, k):  # type: ignore[no-untyped-def]
    """Add one event's part of minus the second derivative to the upper triangle of `h[k]`."""
    Q = len(z)
    for p in range(Q):
        part = inverse * inverse * z[p]
        for q in range(p, Q):
            h[k, p, q] += part * z[q]
