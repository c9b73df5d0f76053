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

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from m3tr.errors import InputError

History = tuple[np.ndarray, np.ndarray, np.ndarray]

# splitmix64: a stream per path that depends on nothing but (seed, path), on any number of threads
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@njit(cache=True)
def _mix(z):  # type: ignore[no-untyped-def]
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@njit(cache=True)
def uniform(state):  # type: ignore[no-untyped-def]
    """Next number in [0, 1); `state` is a uint64 array of length one."""
    state[0] += _STEP
    return float(_mix(state[0]) >> _S11) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def _thin(mu_times, mu_rates, alpha, beta, x, start, end, rng, times, kinds, limit, counts):  # type: ignore[no-untyped-def]
    """One path on `(start, end]`; fills `times`, `kinds` up to their length, counts to `limit`.

    `x` (M, K) is the excitation of each receiver at `start`, right limit; it is overwritten.
    """
    M, K = x.shape
    P = mu_times.shape[0]
    keep = times.shape[0]
    rate = np.empty(K)
    p = 0
    while p + 1 < P and mu_times[p + 1] <= start:
        p += 1
    t = start
    n = 0
    while n < limit:
        # intensities only decay until the next event or breakpoint, so lambda(t+) bounds them
        bound = 0.0
        for k in range(K):
            bound += mu_rates[p, k]
            for m in range(M):
                bound += x[m, k]
        piece = mu_times[p + 1] if p + 1 < P else np.inf
        step = -math.log(1.0 - uniform(rng)) / bound if bound > 0.0 else np.inf
        until = min(t + step, piece, end)
        for m in range(M):
            decay = math.exp(-beta[m] * (until - t))
            for k in range(K):
                x[m, k] *= decay
        moved = t + step
        t = until
        if moved > piece or moved > end:
            if piece >= end:
                break
            p += 1  # the exponential is memoryless: draw again from the breakpoint
            continue
        target = uniform(rng) * bound
        total = 0.0
        kind = -1
        for k in range(K):
            rate[k] = mu_rates[p, k]
            for m in range(M):
                rate[k] += x[m, k]
            total += rate[k]
            if target < total:
                kind = k
                break
        if kind < 0:
            continue
        if n < keep:
            times[n] = t
            kinds[n] = kind
        counts[kind] += 1
        n += 1
        for m in range(M):
            for k in range(K):
                x[m, k] += alpha[m, k, kind]
    return n


@njit(cache=True, parallel=True)
def _thin_many(mu_times, mu_rates, alpha, beta, x, start, end, states, limit, counts, totals):  # type: ignore[no-untyped-def]
    for i in prange(counts.shape[0]):
        rng = states[i : i + 1].copy()
        none_f, none_i = np.empty(0), np.empty(0, dtype=np.int64)
        totals[i] = _thin(
            mu_times,
            mu_rates,
            alpha,
            beta,
            x.copy(),
            start,
            end,
            rng,
            none_f,
            none_i,
            limit,
            counts[i],
        )


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
        n = _thin(
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
    _thin_many(
        s.mu_times, s.mu_rates, s.alpha, s.beta, s.x, float(start), float(end),
        streams(seed, n_paths), max_events, counts, totals,
    )  # fmt: skip
    if (totals >= max_events).any():
        raise InputError(
            f"simulate_counts: a path reached {max_events} events; shorten the window, lower the "
            "branching ratio or raise max_events."
        )
    return counts


def streams(seed: int, n: int) -> np.ndarray:
    """Initial random states of `n` paths, (n,) uint64."""
    with np.errstate(over="ignore"):
        base = np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
        return _mix_array(_mix_array(base + _STEP) + np.arange(1, n + 1, dtype=np.uint64) * _STEP)


def _mix_array(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


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
