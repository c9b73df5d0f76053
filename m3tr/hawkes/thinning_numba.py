"""Compiled loops of both simulations, and the random numbers they share.

They stand in one file since numba's cache on disk looks at the file of the compiled function alone:
a helper in another file could change, and its old machine code would go on being used.
"""

import math

import numpy as np
from numba import njit

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


def streams(seed: int, n: int) -> np.ndarray:
    """Initial random states of `n` paths, (n,) uint64."""
    with np.errstate(over="ignore"):
        base = np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
        return _mix_array(_mix_array(base + _STEP) + np.arange(1, n + 1, dtype=np.uint64) * _STEP)


def _mix_array(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@njit(cache=True)
def thin(mu_times, mu_rates, alpha, beta, x, start, end, rng, times, kinds, limit, counts):  # type: ignore[no-untyped-def]
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


@njit(cache=True, nogil=True)
def thin_many(  # type: ignore[no-untyped-def]
    begin, stop, mu_times, mu_rates, alpha, beta, x, start, end, states, limit, counts, totals
):
    """Events of each kind on the paths `begin` to `stop`."""
    for i in range(begin, stop):
        rng = states[i : i + 1].copy()
        none_f, none_i = np.empty(0), np.empty(0, dtype=np.int64)
        totals[i] = thin(
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


@njit(cache=True)
def _softplus(x):  # type: ignore[no-untyped-def]
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(cache=True)
def _next(t, last, end, x, gate, z, rng, mu, beta, knots, scale):  # type: ignore[no-untyped-def]
    """Time and kind of a path's next event; kind -1 at `end`. `x` (M, K) decays up to there."""
    M, K = x.shape
    R = knots.shape[0] - 1
    rate = np.empty(K)
    p = 0
    while True:
        while p < R and last + knots[p + 1] <= t:
            p += 1
        stop = min(end, last + knots[p + 1]) if p < R else end
        u = min(max((t - last - knots[p]) / (knots[p + 1] - knots[p]), 0.0), 1.0) if p < R else 0.0
        bound = 0.0
        for k in range(K):
            excited = mu[k]
            for m in range(M):
                excited += x[m, k]
            bound += gate[k] * excited
            if scale[k] > 0.0:
                g = z[p, k]
                if p < R:
                    g = max((1.0 - u) * g + u * z[p + 1, k], z[p + 1, k])
                bound += scale[k] * _softplus(g)
        to = t - math.log(1.0 - uniform(rng)) / bound if bound > 0.0 else np.inf
        until = min(to, stop)
        for m in range(M):
            decay = math.exp(-beta[m] * (until - t))
            for k in range(K):
                x[m, k] *= decay
        t = until
        if to > stop:
            if stop >= end:
                return end, -1
            continue
        if p < R:
            u = min(max((t - last - knots[p]) / (knots[p + 1] - knots[p]), 0.0), 1.0)
        total = 0.0
        for k in range(K):
            excited = mu[k]
            for m in range(M):
                excited += x[m, k]
            total += gate[k] * excited
            if scale[k] > 0.0:
                g = z[p, k]
                if p < R:
                    g = (1.0 - u) * g + u * z[p + 1, k]
                total += scale[k] * _softplus(g)
            rate[k] = total
        level = uniform(rng) * bound
        if level < total:
            kind = 0
            while rate[kind] <= level:
                kind += 1
            return t, kind


@njit(cache=True)
def _mark(kind, x, rng, jump, draws, size):  # type: ignore[no-untyped-def]
    """Draw the count of an event, let it excite, and return it."""
    i = min(int(uniform(rng) * size[kind]), size[kind] - 1) if size[kind] > 1 else 0
    for m in range(x.shape[0]):
        for k in range(x.shape[1]):
            x[m, k] += jump[m, k, kind] * draws[1, kind, i]
    return draws[0, kind, i]


@njit(cache=True)
def advance(  # type: ignore[no-untyped-def]
    on, now, last, end, x, gate, z, state, mu, jump, beta, knots, scale, draws, size, kind, count
):
    """The next event of the paths `on`; `now`, `x`, `state`, `kind` and `count` are overwritten."""
    for i in on:
        rng = state[i : i + 1]
        now[i], kind[i] = _next(
            now[i], last[i], end[i], x[i], gate[i], z[i], rng, mu, beta, knots, scale
        )
        if kind[i] >= 0:
            count[i] = _mark(kind[i], x[i], rng, jump, draws, size)


@njit(cache=True, nogil=True)
def run(  # type: ignore[no-untyped-def]
    begin, stop, now, last, end, x, gate, z, state, mu, jump, beta, knots, scale, draws, size,
    limit, n, first, time, kind, count,
):  # fmt: skip
    """Paths `begin` to `stop` to their ends, at most `limit` events; `time` keeps some of them."""
    for i in range(begin, stop):
        rng, excited, t = state[i : i + 1].copy(), x[i].copy(), now[i]
        found = 0
        while found < limit:
            t, k = _next(t, last[i], end[i], excited, gate[i], z[i], rng, mu, beta, knots, scale)
            if k < 0:
                break
            c = _mark(k, excited, rng, jump, draws, size)
            if first[i] + found < time.shape[0]:
                at = first[i] + found
                time[at], kind[at], count[at] = t, k, c
            found += 1
        n[i] = found
