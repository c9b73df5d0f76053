"""Lasso, SCAD and MCP on the branching ratios, by local linear approximation; tuning of lambda.

    minimise  -log L / n + sum_{m,k,l} p_lambda(alpha[m,k,l] w_l)

`n` is the number of scored events and `w_l` the mean weight of the events of kind `l`. Penalised
are offspring per event, pure numbers, so lambda depends neither on the unit of time nor on that of
the weights. The background is not penalised. See docs/hawkes-estimation.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from m3tr.errors import InputError
from m3tr.hawkes.classical import ClassicalFit, Problem
from m3tr.hawkes.kernels import Sequences, log_likelihood, pack
from m3tr.hawkes.newton import Solution

PenaltyName = Literal["lasso", "scad", "mcp"]
SCAD_A = 3.7  # Fan and Li (2001)
MCP_GAMMA = 3.0  # Zhang (2010)
# the path of lambda ends at this share of the smallest lambda at which every alpha is zero
PATH_END = 1e-3


def derivative(name: PenaltyName, theta: np.ndarray, strength: float) -> np.ndarray:
    """`p'(theta)` for `theta >= 0`; at zero the limit from the right, `strength`."""
    theta = np.asarray(theta, dtype=np.float64)
    if name == "lasso":
        return np.full(theta.shape, float(strength))
    if name == "scad":
        beyond = np.maximum(SCAD_A * strength - theta, 0.0) / (SCAD_A - 1)
        return np.where(theta <= strength, strength, beyond)
    _check(name, strength)
    return np.maximum(strength - theta / MCP_GAMMA, 0.0)


def value(name: PenaltyName, theta: np.ndarray, strength: float) -> np.ndarray:
    """`p(theta)`, even in `theta`, zero at zero."""
    t, lam = np.abs(np.asarray(theta, dtype=np.float64)), float(strength)
    if name == "lasso":
        return lam * t
    if name == "scad":
        middle = (2 * SCAD_A * lam * t - t**2 - lam**2) / (2 * (SCAD_A - 1))
        flat = lam**2 * (SCAD_A + 1) / 2
        return np.where(t <= lam, lam * t, np.where(t <= SCAD_A * lam, middle, flat))
    _check(name, strength)
    inner = np.minimum(t, MCP_GAMMA * lam)
    return np.asarray(lam * inner - inner**2 / (2 * MCP_GAMMA))


def prox(name: PenaltyName, z: np.ndarray, strength: float, step: float = 1.0) -> np.ndarray:
    """Proximal operator: the minimiser of `(x - z)^2 / 2 + step p(x)`.

    Raises
    ------
    InputError
        Where `step` is not below `a - 1` (SCAD) or `gamma` (MCP): the minimiser would jump.
    """
    _check(name, strength)
    z, lam = np.asarray(z, dtype=np.float64), float(strength)
    size = np.abs(z)
    soft = np.sign(z) * np.maximum(size - step * lam, 0.0)
    if name == "lasso":
        return soft
    limit = SCAD_A - 1 if name == "scad" else MCP_GAMMA
    if not 0 < step < limit:
        raise InputError(f"penalty: the step {step} of {name} must be positive and below {limit}.")
    if name == "mcp":
        return np.where(size <= MCP_GAMMA * lam, soft / (1 - step / MCP_GAMMA), z)
    bent = ((SCAD_A - 1) * z - np.sign(z) * step * SCAD_A * lam) / (SCAD_A - 1 - step)
    near = np.where(size <= lam * (1 + step), soft, bent)
    return np.where(size <= SCAD_A * lam, near, z)


def fit_penalised(
    data: Sequences,
    kinds: Sequence[str],
    beta: Sequence[float] | np.ndarray | None = None,
    scales: int = 1,
    penalty: PenaltyName = "scad",
    strength: float = 0.05,
    rounds: int = 3,
) -> ClassicalFit:
    """Penalised maximum likelihood for one `strength` (lambda).

    The lasso is convex. For SCAD and MCP, each of at most `rounds` rounds replaces the penalty by
    its tangent at the last estimate, the first of which is the lasso's.

    Parameters
    ----------
    data, kinds, beta, scales
        As for `m3tr.hawkes.classical.fit`. Learned decays start where they are without a penalty:
        a decay is not identified once its `alpha` is zero.

    Raises
    ------
    InputError
        Where the penalty is unknown or `strength` is not a finite, non-negative number.
    """
    _check(penalty, strength)
    path = _Path(Problem(data, kinds), beta, scales, penalty, rounds)
    return path.fit(strength)


@dataclass(frozen=True)
class Tuning:
    """Fits along a path of lambda, and a score of each, smaller is better."""

    fits: tuple[ClassicalFit, ...]  # from the strongest penalty to the weakest
    scores: np.ndarray  # (L,) BIC, or minus the log likelihood per event of held-out sequences

    @property
    def best(self) -> ClassicalFit:
        """The fit with the smallest score; the sparsest of equals."""
        return self.fits[int(np.argmin(self.scores))]

    @property
    def strengths(self) -> np.ndarray:
        """Lambda of each fit, (L,), descending."""
        return np.array([found.strength for found in self.fits])


def tune(
    data: Sequences,
    kinds: Sequence[str],
    beta: Sequence[float] | np.ndarray | None = None,
    scales: int = 1,
    penalty: PenaltyName = "scad",
    held_out: Sequences | None = None,
    strengths: Sequence[float] | np.ndarray | None = None,
    rounds: int = 3,
) -> Tuning:
    """Choose lambda along a warm-started path, by BIC or on held-out sequences.

    Parameters
    ----------
    data, kinds, beta, scales, penalty, rounds
        As for `fit_penalised`.
    held_out : Sequences, optional
        Sequences that are not in `data`; with them their likelihood decides instead of BIC.
    strengths : sequence of float, optional
        The path; by default 25 values, log-spaced down from the smallest lambda at which every
        `alpha` is zero.

    Raises
    ------
    InputError
        As `fit_penalised`, and where `strengths` or the scored part of `held_out` is empty.
    """
    problem = Problem(data, kinds)
    _check(penalty, 0.0)
    path = _Path(problem, beta, scales, penalty, rounds)
    if strengths is None:
        top = max(1.0001 * path.strongest(), 1e-12)  # rounding must not keep one
        strengths = np.geomspace(top, top * PATH_END, 25)
    strengths = np.sort(np.asarray(strengths, dtype=np.float64))[::-1]
    if len(strengths) == 0:
        raise InputError("penalty: strengths must name at least one lambda.")
    for strength in strengths:
        _check(penalty, strength)
    if held_out is not None and not (held_out.time > 0).any():
        raise InputError("penalty: the held-out sequences hold no event to score.")
    fits = tuple(path.fit(float(strength)) for strength in strengths)
    if held_out is None:
        return Tuning(fits, np.array([found.bic for found in fits]))
    n = int((held_out.time > 0).sum())
    totals = [log_likelihood(held_out, f.mu, f.alpha, f.beta).total for f in fits]
    return Tuning(fits, -np.array(totals) / n)


class _Path:
    """Fits for one penalty after the other, each lasso starting at the one before."""

    def __init__(
        self,
        problem: Problem,
        beta: Sequence[float] | np.ndarray | None,
        scales: int,
        penalty: PenaltyName,
        rounds: int,
    ) -> None:
        if rounds < 1:
            raise InputError("penalty: at least one round is needed.")
        self.problem, self.penalty, self.rounds = problem, penalty, rounds
        self.learned = beta is None
        self.warm: np.ndarray | None = None
        if beta is None:
            self.free = problem.free(scales)
            none = np.zeros(self.free.shape)
            self.rates, _ = problem.search(problem.first_decays(scales), none, self.free)
        else:
            self.rates = problem.rates(beta)
            self.free = problem.free(len(self.rates))
        # what a unit of alpha costs per unit of penalty, in log likelihood
        weight = np.broadcast_to(problem.mean_weight, (len(self.rates), *[len(problem.kinds)] * 2))
        self.weight = pack(np.zeros(len(problem.kinds)), weight)  # (K, Q)

    def fit(self, strength: float) -> ClassicalFit:
        """The fit for `strength`."""
        rates, found = self._step(self._linear("lasso", self.weight, strength), self.warm)
        self.warm = found.theta
        if self.penalty != "lasso":
            linear = np.full(self.weight.shape, np.nan)
            for _ in range(self.rounds):
                before, linear = linear, self._linear(self.penalty, found.theta, strength)
                if np.array_equal(before, linear):
                    break
                rates, found = self._step(linear, found.theta)
        return self.problem.result(rates, found, self.learned, self.penalty, strength)

    def strongest(self) -> float:
        """The smallest lambda at which every `alpha` is zero, for the lasso."""
        alone = self.free.copy()
        alone[:, 1:] = False
        found = self.problem.optimum(self.rates, np.zeros(alone.shape), alone)
        slope = found.gradient[:, 1:] / self.weight[:, 1:]
        return float(max(slope.max(initial=0.0), 0.0)) / max(self.problem.n, 1)

    def _linear(self, name: PenaltyName, theta: np.ndarray, strength: float) -> np.ndarray:
        slope = derivative(name, theta * self.weight, strength)
        return np.asarray(self.problem.n * self.weight * slope)

    def _step(self, linear: np.ndarray, start: np.ndarray | None) -> tuple[np.ndarray, Solution]:
        if self.learned:
            return self.problem.search(self.rates, linear, self.free, start)
        return self.rates, self.problem.optimum(self.rates, linear, self.free, start)


def _check(name: str, strength: float) -> None:
    if name not in ("lasso", "scad", "mcp"):
        raise InputError(f"penalty: {name!r} is not one of lasso, scad, mcp.")
    if not (np.isfinite(strength) and strength >= 0):
        raise InputError(f"penalty: the strength {strength} must be finite and not negative.")
