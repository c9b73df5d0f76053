"""Exact simulation of multivariate Hawkes processes by Ogata thinning, compiled with numba.

Intensity of kind `k` (events per unit of time; the unit is the caller's):

    lambda_k(t) = mu_k(t) + sum_{m,k'} alpha[m,k,k'] S[m,k'](t)
    S[m,k'](t) = sum_{t_j < t, k_j = k'} g_j exp(-beta_m (t - t_j))

`mu_k` is piecewise constant. `alpha[m,k,k']` is the jump of `lambda_k` at an event of kind `k'`, so
the branching matrix is `sum_m alpha[m] / beta[m]`. `MambaHawkes` stores `alpha / beta` instead: its
parameters are simulated with `alpha = model.alpha * beta[:, None, None]`. A pair with its own decay
is a scale `m` on which every other pair has `alpha = 0`.

A simulated event has mark `g = 1`, which is `g(1)` under both marks of `MambaHawkes`.
"""

from typing import NamedTuple

import numpy as np

from m3tr.errors import InputError
from m3tr.hawkes.thinning_numba import streams, thin, thin_many
from m3tr.hawkes.threads import WORK, share

History = tuple[np.ndarray, np.ndarray, np.ndarray]


class _Setup(NamedTuple):
    mu_times: np.ndarray
    mu_rates: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    x: np.ndarray  # (M, K) excitation at the start


def simulate(
    mu_times: np.ndarray,
    mu_rates: np.ndarray,
    alpha: np.ndarray,
    beta: np.ndarray,
    end: float,
    seed: int,
    history: History | None = None,
    start: float = 0.0,
    max_events: int = 100_000,
) -> tuple[np.ndarray, np.ndarray]:
    """One path on `(start, end]`, deterministic in `seed`.

    Parameters
    ----------
    mu_times : (P,) array
        Breakpoints of the immigration, ascending; `mu_rates[p]` holds from `mu_times[p]` to the
        next one, the last for ever. The first must not lie after `start`.
    mu_rates : (P, K) array
        Immigration per kind, events per unit of time, non-negative.
    alpha : (M, K, K) array
        Jumps `[scale, receiver, source]`, non-negative.
    beta : (M,) array
        Decay rates, positive.
    end : float
        End of the window.
    seed : int
        Seed of the path.
    history : (times, kinds, marks), optional
        Events at or before `start`; `marks` are the values of `g`.
    start : float
        Start of the window.
    max_events : int
        The path stops at this many events; a result of this length is cut short.

    Returns
    -------
    times : (n,) float64 array, ascending
    kinds : (n,) int64 array

    Raises
    ------
    InputError
        Where a shape or a sign is wrong. See docs/hawkes.md.
    """
    s = _setup(mu_times, mu_rates, alpha, beta, history, start)
    size = min(1024, max_events)
    while True:
        times, kinds = np.empty(size), np.empty(size, dtype=np.int64)
        counts = np.zeros(s.x.shape[1], dtype=np.int64)
        # a path is a function of the seed: simulating it again into a larger array changes nothing
        n = thin(
            s.mu_times, s.mu_rates, s.alpha, s.beta, s.x.copy(), float(start), float(end),
            streams(seed, 1), times, kinds, size, counts,
        )  # fmt: skip
        if n < size or size >= max_events:
            return times[:n], kinds[:n]
        size = min(size * 8, max_events)


def simulate_counts(
    mu_times: np.ndarray,
    mu_rates: np.ndarray,
    alpha: np.ndarray,
    beta: np.ndarray,
    end: float,
    seed: int,
    n_paths: int,
    history: History | None = None,
    start: float = 0.0,
    max_events: int = 1_000_000,
) -> np.ndarray:
    """Events of each kind on `(start, end]` in `n_paths` independent continuations, in parallel.

    Arguments as for `simulate`; the result does not depend on the number of threads.

    Returns
    -------
    (n_paths, K) int64 array

    Raises
    ------
    InputError
        As `simulate`, and where a path reaches `max_events`: its count would only be a bound.
    """
    s = _setup(mu_times, mu_rates, alpha, beta, history, start)
    counts = np.zeros((n_paths, s.x.shape[1]), dtype=np.int64)
    totals = np.zeros(n_paths, dtype=np.int64)
    share(
        thin_many, n_paths, n_paths * WORK,
        s.mu_times, s.mu_rates, s.alpha, s.beta, s.x, float(start), float(end),
        streams(seed, n_paths), max_events, counts, totals,
    )  # fmt: skip
    if (totals >= max_events).any():
        raise InputError(
            f"simulate_counts: a path reached {max_events} events; shorten the window, lower the "
            "branching ratio or raise max_events."
        )
    return counts


def _setup(
    mu_times: np.ndarray,
    mu_rates: np.ndarray,
    alpha: np.ndarray,
    beta: np.ndarray,
    history: History | None,
    start: float,
) -> _Setup:
    """Arguments as contiguous float64, checked, and the excitation left by the history."""
    mu_times = np.ascontiguousarray(mu_times, dtype=np.float64)
    mu_rates = np.ascontiguousarray(mu_rates, dtype=np.float64)
    alpha = np.ascontiguousarray(alpha, dtype=np.float64)
    beta = np.ascontiguousarray(beta, dtype=np.float64)
    if mu_times.ndim != 1 or mu_rates.ndim != 2 or len(mu_times) != len(mu_rates):
        raise InputError(
            f"simulate: mu_times {mu_times.shape} and mu_rates {mu_rates.shape} "
            "must be (P,) and (P, K)."
        )
    M, K = len(beta), mu_rates.shape[1]
    if beta.shape != (M,) or alpha.shape != (M, K, K):
        raise InputError(
            f"simulate: alpha {alpha.shape} must be (M, K, K) = {(M, K, K)} for beta {beta.shape}."
        )
    if not (mu_rates >= 0).all() or not (alpha >= 0).all() or not (beta > 0).all():
        raise InputError("simulate: rates and alpha must be non-negative and beta positive.")
    if len(mu_times) == 0 or mu_times[0] > start or (np.diff(mu_times) <= 0).any():
        raise InputError(f"simulate: mu_times must ascend and begin at or before start = {start}.")
    x = np.zeros((M, K))
    if history is not None:
        times, kinds, marks = (np.asarray(h) for h in history)
        if (times > start).any():
            raise InputError(f"simulate: a history event lies after start = {start}; drop it.")
        source = np.zeros((M, K))
        weight = marks * np.exp(-beta[:, None] * (start - times))  # (M, n)
        for m in range(M):
            source[m] = np.bincount(kinds.astype(np.int64), weights=weight[m], minlength=K)
        x = np.einsum("mkl,ml->mk", alpha, source)
    return _Setup(mu_times, mu_rates, alpha, beta, x)
