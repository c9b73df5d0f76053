"""Concave maximum likelihood on the positive orthant by projected Newton steps.

For fixed decays, minus the log likelihood of a receiver is `-sum log(theta . z) + theta . c`:
convex in `theta >= 0`, and a penalty's linear term only adds to `c`. A step minimises the quadratic
model over the orthant exactly, as non-negative least squares, so zeros are exact and the set of
active parameters settles in a few steps; the last ones converge quadratically. Newton's method does
not see a change of scale, in time or in the weights of events.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from m3tr.hawkes.kernels import Sequences, one_pass

MAX_PASSES = 200
# half the squared Newton decrement, about the log likelihood still to be gained
TOLERANCE = 1e-9
# of the diagonal: kinds or decays that cannot be told apart leave the quadratic model flat
RIDGE = 1e-11
# of a sum over events, relative: smaller losses of log likelihood are none
ROUNDING = 1e-13


class Solution(NamedTuple):
    """An optimum, with the derivatives at it; parameters as in `kernels.Pass`."""

    theta: np.ndarray  # (K, Q), exact zeros
    value: np.ndarray  # (K,) log likelihood of each receiver, without the linear term
    gradient: np.ndarray  # (K, Q) of the log likelihood
    hessian: np.ndarray  # (K, Q, Q) observed information
    integral: np.ndarray  # (Q,)
    converged: bool


def solve(
    data: Sequences,
    beta: np.ndarray,
    linear: np.ndarray,
    free: np.ndarray,
    start: np.ndarray | None = None,
) -> Solution:
    """Maximise `log likelihood - sum(linear * theta)` over `theta >= 0`.

    Parameters
    ----------
    data : Sequences
    beta : (M,) array
        Decay rates, per unit of time of `data`.
    linear : (K, Q) array
        Linear term, in units of the log likelihood.
    free : (K, Q) bool array
        The other parameters are held at zero.
    start : (K, Q) array, optional
        A near optimum. Parameters that are zero there may become positive.
    """
    K, Q = free.shape
    number = np.bincount(data.kind[data.time > 0], minlength=K).astype(float)
    # a receiver without events is best silent
    free = free & (number > 0)[:, None]
    theta = np.zeros((K, Q)) if start is None else np.where(free, start, 0.0)
    best = one_pass(data, theta, beta, hessian=start is not None)
    integral = best.integral
    free = free & (integral > 0)  # nothing is known of a source that never excites
    if start is None or not np.isfinite(best.value).all():
        theta = _start(free, number, integral)
        best = one_pass(data, theta, beta, hessian=True)
    theta = np.where(free, theta, 0.0)
    value, gradient, hessian = best.value, best.gradient, best.hessian
    cost = linear + integral
    step, goal = np.zeros((K, Q)), np.zeros(K)  # a step under trial, its predicted gain
    size = np.zeros(K)  # 0: a new step is due
    open_ = number > 0
    converged = True
    for _ in range(MAX_PASSES):
        for k in np.flatnonzero(open_ & (size == 0)):
            slope = np.where(free[k], gradient[k] - cost[k], 0.0)
            # sum z / rate <= sqrt(n H): where that is far below the integral, zero is best and the
            # parameter would only spoil the scale of the quadratic model
            alive = number[k] * np.diag(hessian[k]) > 1e-6 * integral**2
            step[k] = _newton(hessian[k], slope, theta[k], free[k] & alive)
            step[k, ~alive] = -theta[k, ~alive]
            goal[k] = slope @ step[k]
            # slope . step = step' H step + multipliers . step >= twice the gain of the model
            open_[k] = goal[k] > 2 * TOLERANCE
            size[k] = 1.0
        if not open_.any():
            break
        trial = np.where(open_[:, None], theta + size[:, None] * step, theta)
        trial[trial < 1e-14 * np.abs(theta)] = 0.0  # rounding where a step ends on the boundary
        found = one_pass(data, trial, beta, hessian=True, receivers=open_)
        for k in np.flatnonzero(open_):
            gain = found.value[k] - value[k] - cost[k] @ (trial[k] - theta[k])
            noise = ROUNDING * (abs(value[k]) + number[k])
            if gain >= 1e-4 * size[k] * goal[k] - noise:
                theta[k], value[k] = trial[k], found.value[k]
                gradient[k], hessian[k], size[k] = found.gradient[k], found.hessian[k], 0.0
            elif size[k] < 1e-8:
                open_[k] = converged = False  # no step gains: the data are degenerate
            else:
                size[k] *= 0.3
    else:
        converged = False
    total = value - theta @ integral
    return Solution(theta, total, gradient - integral, hessian, integral, converged)


def _start(free: np.ndarray, number: np.ndarray, integral: np.ndarray) -> np.ndarray:
    """Half of the events from the background, the rest in equal shares."""
    share = free / np.maximum(free[:, 1:].sum(1, keepdims=True), 1)
    share[:, 0] = free[:, 0] * np.where(free[:, 1:].any(1), 1.0, 2.0)
    safe = np.where(integral > 0, integral, 1.0)
    return np.asarray(0.5 * number[:, None] * share / safe)


def _newton(H: np.ndarray, slope: np.ndarray, theta: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Step to the maximum of the quadratic model over `theta + step >= 0`, (Q,)."""
    on = np.flatnonzero(free)
    step = np.zeros(len(theta))
    if len(on) == 0:
        return step
    scale = 1 / np.sqrt(np.diag(H)[on])
    A = H[np.ix_(on, on)] * scale * scale[:, None]
    A[np.diag_indices_from(A)] += RIDGE * len(on)
    L = np.linalg.cholesky(A)
    x = theta[on] / scale
    target = solve_triangular(L, A @ x + slope[on] * scale, lower=True)
    solution, _ = nnls(L.T, target, maxiter=50 * len(on))
    step[on] = solution * scale - theta[on]
    return step
