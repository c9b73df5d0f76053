"""Estimation of the classical Hawkes process: maximum likelihood, learned decays, standard errors.

    lambda_k(t) = mu_k + sum_{m,l} alpha[m,k,l] beta_m S[m,l](t)

`alpha` is dimensionless: the direct offspring of kind `k`, on scale `m`, of an event of kind `l`
and weight 1. Time is measured in the mean gap between events inside, so the unit of the data only
relabels `mu` and `beta`. For fixed decays the problem is convex; decays are learned by an outer
quasi-Newton search in `log beta` over the profile likelihood, whose gradient is exact because the
inner optimum has none (docs/hawkes-estimation.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from m3tr.errors import InputError
from m3tr.hawkes.events import EventBatch
from m3tr.hawkes.kernels import Sequences, one_pass, pack, unpack
from m3tr.hawkes.newton import Solution, solve
from m3tr.hawkes.process import MambaHawkes

# decay rates tried as starts, and how far beyond the fastest the search may go
CANDIDATES = 10
BEYOND = 30.0
# a rate may be fitted as zero; its logarithm must stay finite; in mean rates
FLOOR = 1e-12
# step in log beta of the finite differences of the exact gradient
STEP = 1e-4


@dataclass(frozen=True)
class ClassicalFit:
    """An estimate; times in the data's unit. `K` kinds, `M` decay rates.

    Errors are standard errors: the inverse of the observed information of the active (positive)
    parameters, learned decays among them; nan for the others. They do not contain the bias that a
    lasso has, nor the choice of the active set. With a change of unit `log_likelihood` changes by
    the number of scored events times the logarithm of the ratio.
    """

    kinds: tuple[str, ...]
    mu: np.ndarray  # (K,) background, events per unit of time
    alpha: np.ndarray  # (M, K, K) [scale, receiver, source], offspring per unit of weight
    beta: np.ndarray  # (M,) decay rates per unit of time
    mean_weight: np.ndarray  # (K,) of the events of each kind; 1 where there are none
    log_likelihood: float  # without penalty
    n_events: int  # events scored
    n_active: int  # positive entries of mu and alpha, and the learned decays that any of them uses
    penalty: str  # "none", "lasso", "scad" or "mcp"
    strength: float  # lambda of the penalty
    mu_error: np.ndarray  # (K,)
    alpha_error: np.ndarray  # (M, K, K)
    beta_error: np.ndarray  # (M,), nan where the decays are fixed
    converged: bool

    @property
    def bic(self) -> float:
        """`-2 log L + n_active log n_events`; smaller is better, comparable on the same data."""
        return float(-2 * self.log_likelihood + self.n_active * np.log(max(self.n_events, 1)))

    def branching(self) -> np.ndarray:
        """(K, K) direct offspring `[receiver, source]` of an event of mean weight."""
        return np.asarray(self.alpha.sum(0) * self.mean_weight)


def fit(
    data: Sequences,
    kinds: Sequence[str],
    beta: Sequence[float] | np.ndarray | None = None,
    scales: int = 1,
    support: np.ndarray | None = None,
) -> ClassicalFit:
    """Maximum likelihood.

    Parameters
    ----------
    data : Sequences
    kinds : sequence of str
        The `K` kinds in the order of their numbers.
    beta : (M,) array, optional
        Fixed decay rates, per unit of time of `data`. Without them `scales` rates are learned and
        come back in descending order.
    scales : int
        How many rates to learn.
    support : (M, K, K) bool array, optional
        Where `alpha` may be positive, by default everywhere.

    Raises
    ------
    InputError
        Where a decay rate is not positive, a shape is wrong or an event has no kind.
    """
    problem = Problem(data, kinds)
    if beta is None:
        free = problem.free(scales, support)
        rates = problem.first_decays(scales)
        rates, found = problem.search(rates, np.zeros(free.shape), free)
    else:
        rates = problem.rates(beta)
        free = problem.free(len(rates), support)
        found = problem.optimum(rates, np.zeros(free.shape), free)
    return problem.result(rates, found, learned=beta is None)


def fit_classical(model: MambaHawkes, events: EventBatch) -> None:
    """Set `log_mu`, `beta` and `alpha` of the classical part to their maximum-likelihood values.

    The softplus part is taken as absent. Decay rates that the settings give stay.
    """
    on, settings = model.settings.classical, model.settings
    data = Sequences.of(events, settings.marks)
    if on and settings.decays is None:
        found = fit(data, model.kinds, scales=settings.scales)
    else:
        support = np.full(tuple(model.alpha.shape), on)
        found = fit(data, model.kinds, model.beta.numpy(), support=support)
    put(model, found)


def put(model: MambaHawkes, found: ClassicalFit) -> None:
    """Set the classical part of a process to an estimate."""
    with torch.no_grad():
        rate = np.maximum(found.mu * float(model.unit), FLOOR)
        model.log_mu.copy_(torch.from_numpy(np.log(rate)))
        model.beta.copy_(torch.from_numpy(found.beta.copy()))
        model.alpha.copy_(torch.from_numpy(found.alpha))


class Problem:
    """A set of sequences with time in mean gaps, and the optimisations over it.

    `theta` (K, 1 + M K) holds `mu` and `alpha` as in `m3tr.hawkes.kernels`.
    """

    def __init__(self, data: Sequences, kinds: Sequence[str]) -> None:
        if not kinds or len(set(kinds)) != len(kinds):
            raise InputError(f"hawkes: the kinds {list(kinds)} must be distinct and not empty.")
        if len(data.kind) and data.kind.max() >= len(kinds):
            raise InputError(f"hawkes: an event has kind {data.kind.max()} of {len(kinds)} kinds.")
        self.kinds = tuple(kinds)
        K = len(kinds)
        self.n = int((data.time > 0).sum())
        total = float(data.end.sum())
        self.unit = total / self.n if self.n and total > 0 else 1.0
        self.data = data.scaled(self.unit)
        # of the longest memory that a window shows
        self.slow = 1 / max(float(self.data.end.mean()), 1e-300) if self.n else 1.0
        number = np.bincount(data.kind, minlength=K)
        weight = np.bincount(data.kind, weights=data.weight, minlength=K)
        self.mean_weight = np.where(number > 0, weight / np.maximum(number, 1), 1.0)

    def rates(self, beta: Sequence[float] | np.ndarray) -> np.ndarray:
        """Decay rates per mean gap."""
        rates = np.asarray(beta, dtype=np.float64) * self.unit
        if rates.ndim != 1 or not len(rates) or not (np.isfinite(rates) & (rates > 0)).all():
            raise InputError("hawkes: beta must be one or more finite, positive decay rates.")
        return rates

    def free(self, scales: int, support: np.ndarray | None = None) -> np.ndarray:
        """(K, Q) bool: the parameters that may be positive."""
        K = len(self.kinds)
        if scales < 1:
            raise InputError("hawkes: at least one decay rate is needed.")
        shape = (scales, K, K)
        if support is not None and np.shape(support) != shape:
            raise InputError(f"hawkes: support {np.shape(support)} must be (M, K, K) = {shape}.")
        return pack(np.ones(K), np.ones(shape) if support is None else support) > 0

    def optimum(
        self,
        rates: np.ndarray,
        linear: np.ndarray,
        free: np.ndarray,
        start: np.ndarray | None = None,
    ) -> Solution:
        """The optimum for fixed decays, less a linear term."""
        return solve(self.data, rates, linear, free, start)

    def first_decays(self, scales: int) -> np.ndarray:
        """Log-spaced candidates, taken one after the other: each adds most to the likelihood.

        They reach from the length of a window to the short gaps between events.
        """
        gap = np.diff(self.data.time, prepend=0.0)
        gap = np.delete(gap, self.data.offsets[:-1][np.diff(self.data.offsets) > 0])
        gap = gap[gap > 0]  # within a sequence
        slow = self.slow
        fast = max(2 / float(np.quantile(gap, 0.05)) if len(gap) else 1.0, 10 * slow)
        grid = list(np.geomspace(fast, slow, max(CANDIDATES, 2 * scales)))
        chosen: list[float] = []
        for _ in range(scales):
            tried, last = [], None
            for rate in grid:
                rates = np.array([*chosen, rate])
                free = self.free(len(rates))
                found = self.optimum(rates, np.zeros(free.shape), free, last)
                tried.append(found.value.sum())
                last = found.theta
            chosen.append(grid.pop(int(np.argmax(tried))))
        return np.sort(np.array(chosen))[::-1].copy()

    def search(
        self,
        rates: np.ndarray,
        linear: np.ndarray,
        free: np.ndarray,
        start: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Solution]:
        """The optimum over the decays too, from `rates`."""
        scale = max(self.n, 1)
        last = self.optimum(rates, linear, free, start)

        def loss(log_rates: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal last
            at = np.exp(log_rates)
            last = self.optimum(at, linear, free, last.theta)
            slope = one_pass(self.data, last.theta, at, slopes=True).slope
            return -float(last.value.sum() - (linear * last.theta).sum()) / scale, -slope / scale

        first = np.log(rates)
        # beyond a window's length a decay is only a trend, and its alpha no longer means offspring
        lowest = min(np.log(self.slow), first.min())
        bounds = [(lowest, first.max() + np.log(BEYOND))] * len(first)
        options = {"maxiter": 100, "ftol": 1e-13, "gtol": 1e-8}
        found = minimize(loss, first, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
        rates = np.exp(found.x)
        solution = self.optimum(rates, linear, free, last.theta)
        if (np.diff(rates) > 0).any():  # scales may cross
            order = np.argsort(-rates, kind="stable")
            mu, alpha = unpack(solution.theta, len(rates))
            sorted_free = pack(np.ones(len(mu)), unpack(free * 1.0, len(rates))[1][order]) > 0
            sorted_linear = pack(np.zeros(len(mu)), unpack(linear, len(rates))[1][order])
            rates = rates[order]
            solution = self.optimum(rates, sorted_linear, sorted_free, pack(mu, alpha[order]))
        ended = bool(found.success) or float(np.abs(found.jac).max()) < 1e-6
        return rates, solution._replace(converged=solution.converged and ended)

    def result(
        self,
        rates: np.ndarray,
        found: Solution,
        learned: bool = False,
        penalty: str = "none",
        strength: float = 0.0,
    ) -> ClassicalFit:
        """A solution in the units of the data, with its standard errors."""
        M = len(rates)
        mu, alpha = unpack(found.theta, M)
        used = np.asarray((alpha > 0).any((1, 2)) & learned)
        theta_error, rate_error = self._errors(rates, found, used)
        mu_error, alpha_error = unpack(theta_error, M)
        return ClassicalFit(
            kinds=self.kinds,
            mu=mu / self.unit,
            alpha=alpha,
            beta=rates / self.unit,
            mean_weight=self.mean_weight,
            log_likelihood=float(found.value.sum()) - self.n * float(np.log(self.unit)),
            n_events=self.n,
            n_active=int((found.theta > 0).sum() + used.sum()),
            penalty=penalty,
            strength=strength,
            mu_error=mu_error / self.unit,
            alpha_error=alpha_error,
            beta_error=rate_error / self.unit,
            converged=found.converged,
        )

    def _errors(
        self, rates: np.ndarray, found: Solution, used: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Standard errors of `theta` (K, Q) and of the rates (M,), in mean gaps.

        The information of `theta` is one block a receiver; the decays `used` (M,) border it.
        """
        active = found.theta > 0
        variance = np.full(active.shape, np.nan)
        columns = np.flatnonzero(used)
        cross, corner = self._border(rates, found, columns)  # (D, K, Q), (D, D)
        weights = np.zeros(cross.shape)
        for k in range(len(active)):
            on = np.flatnonzero(active[k])
            inverse = _inverse(found.hessian[k][np.ix_(on, on)])
            variance[k, on] = np.diag(inverse)
            weights[:, k, on] = cross[:, k, on] @ inverse
        rate_error = np.full(len(rates), np.nan)
        if len(columns):
            schur = corner - np.einsum("ikq,jkq->ij", cross * active, weights)
            inverse = _inverse((schur + schur.T) / 2)
            variance += np.einsum("ikq,ij,jkq->kq", weights, inverse, weights)
            rate_error[columns] = rates[columns] * _root(np.diag(inverse))
        return np.where(active, _root(variance), np.nan), rate_error

    def _border(
        self, rates: np.ndarray, found: Solution, columns: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Information between `theta` and `log beta`, and of `log beta`, by central differences."""
        cross = np.zeros((len(columns), *found.theta.shape))
        corner = np.zeros((len(columns), len(columns)))
        for i, m in enumerate(columns):
            for sign in (1, -1):
                moved = rates.copy()
                moved[m] *= np.exp(sign * STEP)
                at = one_pass(self.data, found.theta, moved, slopes=True)
                cross[i] -= sign * (at.gradient - at.integral) / (2 * STEP)
                corner[i] -= sign * at.slope[columns] / (2 * STEP)
        return cross, corner


def _inverse(information: np.ndarray) -> np.ndarray:
    """Inverse of a positive definite matrix; nan where it is not one."""
    try:
        factor = np.linalg.inv(np.linalg.cholesky(information))
    except np.linalg.LinAlgError:
        return np.full(information.shape, np.nan)
    return np.asarray(factor.T @ factor)


def _root(variance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.where(variance >= 0, variance, np.nan))
