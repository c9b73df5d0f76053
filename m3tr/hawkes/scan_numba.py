"""The selective scan compiled for the CPU, with a hand-written backward.

Sixteen neighbouring channels, a tile, are computed as one vector (`lanes.py`). A task is one
sequence and one group of tiles; tasks run in parallel and share nothing, and the sums over groups
and sequences are taken in a fixed order afterwards, so that neither the number of threads nor the
other sequences of a batch change a bit of a result.

The forward keeps the states before every chunk of `CHUNK` steps. The backward computes the decays
and states of one chunk again, which a core's cache holds, and adds up dB and dC over the tiles as
vectors, so that their lanes are summed once a chunk. With g_i = dL/dh_i,

    g_i = C_i dy_i + a_{i+1} g_{i+1},   q_i = a_i g_i h_{i-1},   a_i = exp(delta_i A),
    du_i = B_i g_i,  dB_i = u_i g_i,  dC_i = h_i dy_i,  dA = sum_i delta_i q_i,  ddelta_i = A q_i.
"""

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from m3tr.hawkes.lanes import (
    LANES,
    load,
    load_some,
    plus,
    plus_times,
    power_of_two,
    spread,
    store,
    store_some,
    times,
    total,
    zero,
)
from m3tr.hawkes.threads import share

CHUNK = 16  # steps between two kept states
GROUP = 4  # tiles a task
DTYPES = (torch.float32, torch.float64)

Array = NDArray[Any]


class Scan(torch.autograd.Function):
    """`y_i = C_i h_i + D u_i`; all arguments of one dtype, delta (batch, L, 1 or dim)."""

    @staticmethod
    def forward(ctx: Any, keep: bool, *tensors: Tensor) -> Tensor:
        """`keep` says whether a backward will follow: without one no state is kept."""
        B = tensors[3]
        y = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
        dim, u, delta, A, *rest = _arguments(*tensors)
        chunks = -(-B.shape[1] // CHUNK) if keep else 0
        kept = torch.empty((len(B), chunks, *A.shape), dtype=B.dtype)
        tasks = len(B) * -(-len(A) // GROUP)
        share(
            _forward, tasks, y.numel() * A.shape[1], dim, u, delta, A, *rest, _array(kept), _flat(y)
        )
        ctx.save_for_backward(*tensors, kept)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of u, delta, A, B, C and D; parts of sums are added in a fixed order."""
        *tensors, kept = ctx.saved_tensors
        batch, L, dim = tensors[0].shape
        tiles, N = kept.shape[2:4]
        groups = -(-tiles // GROUP)

        def new(*shape: int) -> Tensor:  # torch's memory begins on a cache line
            return torch.empty((batch, *shape), dtype=dy.dtype)

        # one part for every task that writes it
        shared = tensors[1].shape[2] < dim
        ddelta = new(groups, L, 1) if shared else new(1, L, dim)
        dA, dB, dC, dD = (
            new(tiles, N, LANES),
            new(groups, L, N),
            new(groups, L, N),
            new(tiles, LANES),
        )
        du = new(L, dim)
        outputs = (_flat(du), _flat(ddelta), *map(_array, (dA, dB, dC, dD)))
        arguments = (*_arguments(*tensors), _array(kept), _flat(dy), *outputs)
        share(_backward, batch * groups, du.numel() * N, *arguments)
        return (
            None,
            du,
            _sum(ddelta, 1) * math.log(2),
            _sum(dA, 0).transpose(1, 2).reshape(-1, N)[:dim],
            _sum(dB, 1),
            _sum(dC, 1),
            _sum(dD, 0).reshape(-1)[:dim],
        )


def _arguments(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> tuple[Any, ...]:
    rates = _tiles(A * (1 / math.log(2)))
    return u.shape[2], _flat(u), _flat(delta), rates, _array(B), _array(C), _tiles(D[:, None])


def _sum(parts: Tensor, dim: int) -> Tensor:
    """Numpy adds along a leading axis one by one; torch's order depends on its threads."""
    return torch.from_numpy(parts.numpy().sum(dim))


def states(u: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """States after every step, (batch, L, dim, N); delta (batch, L, 1 or dim)."""
    out = torch.empty((*u.shape, A.shape[1]), dtype=u.dtype)
    rates = A.reshape(-1) * (1 / math.log(2))
    padded = torch.nn.functional.pad(rates, (0, -len(rates) % LANES))
    share(_states, len(out), out.numel(), *map(_array, (u, delta, padded, B, out)))
    return out


def _array(tensor: Tensor) -> Array:
    """View for numba; an output is contiguous already, so it is written in place."""
    array: Array = tensor.detach().contiguous().numpy()
    return array


def _flat(tensor: Tensor) -> Array:
    return _array(tensor).reshape(-1)


def _tiles(A: Tensor) -> Array:
    """(dim, N) to (tiles, N, LANES); channels added to fill the last tile have rate 0."""
    dim, N = A.shape
    padded = torch.nn.functional.pad(A.detach(), (0, 0, 0, -dim % LANES))
    return _array(padded.reshape(-1, LANES, N).transpose(1, 2))


@njit
def _scratch(size, like):  # type: ignore[no-untyped-def]
    """Zeros that begin on a cache line: half of the vectors would lie across two otherwise."""
    raw = np.zeros(size + LANES, like.dtype)
    skip = -(raw.ctypes.data // raw.itemsize) % LANES
    return raw[skip : skip + size]


@njit(cache=True, nogil=True)
def _forward(begin, end, dim, u, delta, A, B, C, D, kept, y):  # type: ignore[no-untyped-def]
    """`A` (tiles, N, LANES) in powers of two, `D` (tiles, 1, LANES); u, delta and y flat."""
    L = B.shape[1]
    tiles, N, _ = A.shape
    groups = (tiles + GROUP - 1) // GROUP
    chunks = kept.shape[1]
    shared = len(delta) < len(u)
    h = _scratch(GROUP * N * LANES, u)
    for task in range(begin, end):
        b, first = task // groups, task % groups * GROUP
        last = min(first + GROUP, tiles)
        h[:] = 0.0
        for i in range(L):
            row = b * L + i
            for tile in range(first, last):
                state = (tile - first) * N * LANES
                if chunks > 0 and i % CHUNK == 0:
                    to = ((b * chunks + i // CHUNK) * tiles + tile) * N * LANES
                    for k in range(0, N * LANES, LANES):
                        store(kept, to + k, load(h, state + k))
                width = min(dim - tile * LANES, LANES)
                at = row * dim + tile * LANES
                u_i = load_some(u, at, width)
                wait = spread(delta, row) if shared else load_some(delta, at, width)
                y_i = times(u_i, load(D, tile * LANES))
                for n in range(N):
                    k = state + n * LANES
                    a = power_of_two(times(wait, load(A, (tile * N + n) * LANES)))
                    h_n = plus_times(times(u_i, spread(B, row * N + n)), a, load(h, k))
                    store(h, k, h_n)
                    y_i = plus_times(y_i, h_n, spread(C, row * N + n))
                store_some(y, at, width, y_i)


@njit(cache=True, nogil=True)
def _backward(  # type: ignore[no-untyped-def]
    begin, end, dim, u, delta, A, B, C, D, kept, dy, du, ddelta, dA, dB, dC, dD
):
    L = B.shape[1]
    tiles, N, _ = A.shape
    groups = (tiles + GROUP - 1) // GROUP
    chunks = kept.shape[1]
    shared = len(delta) < len(u)
    size = N * LANES
    back = _scratch(GROUP * size, u)  # a_{i+1} g_{i+1}
    h = _scratch((CHUNK + 1) * size, u)  # from the state before the chunk on
    a = _scratch(CHUNK * size, u)
    sum_b, sum_c = _scratch(CHUNK * size, u), _scratch(CHUNK * size, u)
    sum_wait = _scratch(CHUNK * LANES, u)
    for task in range(begin, end):
        b, group = task // groups, task % groups
        first, last = group * GROUP, min(group * GROUP + GROUP, tiles)
        back[:] = 0.0
        for tile in range(first, last):
            store(dD, (b * tiles + tile) * LANES, zero(dD))
            for n in range(N):
                store(dA, ((b * tiles + tile) * N + n) * LANES, zero(dA))
        for chunk in range(chunks - 1, -1, -1):
            begin = b * L + chunk * CHUNK
            steps = min(L - chunk * CHUNK, CHUNK)
            sum_b[:] = 0.0
            sum_c[:] = 0.0
            sum_wait[:] = 0.0
            for tile in range(first, last):
                width = min(dim - tile * LANES, LANES)
                start = ((b * chunks + chunk) * tiles + tile) * size
                for k in range(0, size, LANES):
                    store(h, k, load(kept, start + k))
                for i in range(steps):
                    row = begin + i
                    at = row * dim + tile * LANES
                    u_i = load_some(u, at, width)
                    wait = spread(delta, row) if shared else load_some(delta, at, width)
                    for n in range(N):
                        k = i * size + n * LANES
                        a_n = power_of_two(times(wait, load(A, (tile * N + n) * LANES)))
                        h_n = plus_times(times(u_i, spread(B, row * N + n)), a_n, load(h, k))
                        store(a, k, a_n)
                        store(h, k + size, h_n)
                slope = (b * tiles + tile) * size
                to = (b * tiles + tile) * LANES
                skip, dskip = load(D, tile * LANES), load(dD, to)
                for i in range(steps - 1, -1, -1):
                    row = begin + i
                    at = row * dim + tile * LANES
                    u_i, dy_i = load_some(u, at, width), load_some(dy, at, width)
                    wait = spread(delta, row) if shared else load_some(delta, at, width)
                    du_i, dwait = times(dy_i, skip), zero(du)
                    dskip = plus_times(dskip, dy_i, u_i)
                    for n in range(N):
                        k, m = i * size + n * LANES, n * LANES
                        p = (tile - first) * size + m
                        g = plus_times(load(back, p), dy_i, spread(C, row * N + n))
                        du_i = plus_times(du_i, g, spread(B, row * N + n))
                        store(sum_b, k, plus_times(load(sum_b, k), g, u_i))
                        store(sum_c, k, plus_times(load(sum_c, k), load(h, k + size), dy_i))
                        g = times(g, load(a, k))
                        store(back, p, g)
                        q = times(g, load(h, k))
                        store(dA, slope + m, plus_times(load(dA, slope + m), q, wait))
                        dwait = plus_times(dwait, q, load(A, tile * size + m))
                    store_some(du, at, width, du_i)
                    if shared:
                        store(sum_wait, i * LANES, plus(load(sum_wait, i * LANES), dwait))
                    else:
                        store_some(ddelta, at, width, dwait)
                store(dD, to, dskip)
            for i in range(steps):
                row = chunk * CHUNK + i
                for n in range(N):
                    k = i * size + n * LANES
                    dB[b, group, row, n] = total(load(sum_b, k))
                    dC[b, group, row, n] = total(load(sum_c, k))
                if shared:
                    ddelta[(b * groups + group) * L + row] = total(load(sum_wait, i * LANES))


@njit(cache=True, nogil=True)
def _states(begin, end, u, delta, A, B, out):  # type: ignore[no-untyped-def]
    """Lanes run over channel and state together: both are few for a classical process."""
    L, dim, N = out.shape[1:]
    size = dim * N
    shared = delta.shape[2] < dim
    h, x, waits = _scratch(len(A), A), _scratch(len(A), A), _scratch(len(A), A)
    for b in range(begin, end):
        h[:] = 0.0
        for i in range(L):
            row = b * L + i
            for d in range(dim):
                for n in range(N):
                    x[d * N + n] = u[b, i, d] * B[b, i, n]
                    if not shared:
                        waits[d * N + n] = delta[b, i, d]
            for k in range(0, len(A), LANES):
                wait = spread(delta, row) if shared else load(waits, k)
                a = power_of_two(times(wait, load(A, k)))
                h_k = plus_times(load(x, k), a, load(h, k))
                store(h, k, h_k)
                store_some(out, row * size + k, min(size - k, LANES), h_k)
