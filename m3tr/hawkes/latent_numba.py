"""Compiled loops of the Hawkes process with latent classes (`m3tr.hawkes.latent`).

Events are flat: those of sequence `i` are `offsets[i]:offsets[i + 1]`, in order of time. `bin` and
`hour` are theirs; `base` (C, B), `mix` (C, K) and `clock` (24,) are factors of the immigration.
"""

import math

import numpy as np
from numba import njit

TINY = 1e-12  # rate that any immigration has at least: no event is impossible
UNLIKELY = 1e-6  # a class of so small a share learns nothing from a sequence


@njit(cache=True, nogil=True)
def excitation(offsets, time, kind, count, jump, beta):  # type: ignore[no-untyped-def]
    """(n,) part of each event's own kind's intensity that earlier events cause.

    `jump` (M, K, K) [scale, receiver, source]: how far an event of count 1 raises the intensity.
    Events at one time do not excite each other.
    """
    M, K = jump.shape[0], jump.shape[1]
    found = np.zeros(len(time))
    state, pending = np.zeros((M, K)), np.zeros(K)
    for i in range(len(offsets) - 1):
        state[:], pending[:], last = 0.0, 0.0, 0.0
        for j in range(offsets[i], offsets[i + 1]):
            if time[j] > last:
                _pass(state, pending, beta, time[j] - last)
                last = time[j]
            for m in range(M):
                for q in range(K):
                    found[j] += jump[m, kind[j], q] * state[m, q]
            pending[kind[j]] += count[j]
    return found


@njit(cache=True, nogil=True)
def _pass(state, pending, beta, wait):  # type: ignore[no-untyped-def]
    """Let time go by: what is pending enters the state, then all decays."""
    for m in range(state.shape[0]):
        decay = math.exp(-beta[m] * wait)
        for q in range(state.shape[1]):
            state[m, q] = (state[m, q] + pending[q]) * decay
    pending[:] = 0.0


@njit(cache=True, nogil=True)
def volumes(  # type: ignore[no-untyped-def]
    offsets,
    kind,
    count,
    bin,
    hour,
    excited,
    mass,
    base,
    mix,
    clock,
    log_volume,
    shape,
    steps,
    volume,
):
    """Log likelihood (N, C) of each sequence in each class, at the likeliest volume.

    The volume is `volume` (N, C), improved in place by so many steps; its prior is a gamma
    distribution of mean `exp(log_volume)` (N, C) and `shape`. `mass` (N, C) is the integral of the
    immigration at volume 1. What the classes have in common is left out.
    """
    N, C = volume.shape
    found = np.zeros((N, C))
    for i in range(N):
        for c in range(C):
            rate = shape / math.exp(log_volume[i, c])
            whole = mass[i, c] + rate
            v = volume[i, c]
            for step in range(steps + 1):
                immigrants, slope, total = 0.0, 0.0, 0.0
                for j in range(offsets[i], offsets[i + 1]):
                    own = v * base[c, bin[j]] * mix[c, kind[j]] * clock[hour[j]] + TINY
                    odds = own / (own + excited[j])
                    immigrants += count[j] * odds
                    slope += count[j] * odds * (1.0 - odds)
                    if step == steps:
                        total += count[j] * math.log(own + excited[j])
                if step == steps:
                    prior = shape * (math.log(v) - log_volume[i, c]) - rate * v
                    found[i, c] = total - v * mass[i, c] + prior
                else:
                    # Newton's step in the logarithm where it is a safe one, else that of EM
                    bend = whole * v - slope
                    change = (immigrants + shape - whole * v) / bend if bend > 0.0 else 2.0
                    if abs(change) <= 1.0:
                        v *= math.exp(change)
                    else:
                        v = (immigrants + shape) / whole
            volume[i, c] = v
    return found


@njit(cache=True, nogil=True)
def immigrants(  # type: ignore[no-untyped-def]
    offsets, time, kind, count, bin, hour, excited, base, mix, clock, volume, share, jump, beta
):
    """Expected numbers of the EM step, from each class's share (N, C) of each sequence.

    Returns
    -------
    by_bin : (C, B), by_kind : (C, K), by_hour : (24,)
        Immigrants.
    children : (M, K, K)
        Events [scale, receiver, source] that earlier ones caused.
    """
    (N, C), (M, K) = volume.shape, jump.shape[:2]
    by_bin, by_kind, by_hour = np.zeros(base.shape), np.zeros(mix.shape), np.zeros(24)
    children = np.zeros((M, K, K))
    state, pending = np.zeros((M, K)), np.zeros(K)
    for i in range(N):
        state[:], pending[:], last = 0.0, 0.0, 0.0
        for j in range(offsets[i], offsets[i + 1]):
            if time[j] > last:
                _pass(state, pending, beta, time[j] - last)
                last = time[j]
            b, k, h = bin[j], kind[j], hour[j]
            odds = 0.0
            for c in range(C):
                if share[i, c] < UNLIKELY:
                    continue
                own = volume[i, c] * base[c, b] * mix[c, k] * clock[h] + TINY
                part = share[i, c] * count[j] / (own + excited[j])
                by_bin[c, b] += part * own
                by_kind[c, k] += part * own
                by_hour[h] += part * own
                odds += part
            for m in range(M):
                for q in range(K):
                    children[m, k, q] += odds * jump[m, k, q] * state[m, q]
            pending[k] += count[j]
    return by_bin, by_kind, by_hour, children
