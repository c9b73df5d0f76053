"""The selective scan over impulses: one interface, two backends.

    h_i = exp(A gap_i) h_{i-1} + B_i x_i,    y_i = C_i h_i

An event is an impulse: its input has no gap factor, which would make simultaneous events vanish,
and a gap of zero keeps the state as it is. `numba` is compiled, with a hand-written backward, for
the CPU. `torch` is a plain step loop over `unbind` (slicing a tensor inside the loop would make
autograd quadratic in the length), for any device, and the reference for the other.
"""

from typing import Any, Literal

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

Backend = Literal["numba", "torch"]


def impulse_scan(
    A: Tensor, gap: Tensor, x: Tensor, B: Tensor, C: Tensor, backend: Backend | None = None
) -> Tensor:
    """Readout of the scan at every step.

    A padded step with `x = 0` and `gap = 0` changes nothing.

    Parameters
    ----------
    A : (D, N) tensor
        Negative decay rates per channel and state, per unit of `gap`.
    gap : (batch, L) tensor
        Time since the previous step, non-negative; no gradient.
    x : (batch, L, D) tensor
        Inputs.
    B, C : (batch, L, N) tensors
        Input and output selection.
    backend : {"numba", "torch"}, optional
        Default: `numba` on the CPU, else `torch`.

    Returns
    -------
    (batch, L, D) tensor
        `y`. See docs/hawkes.md, "The context part".
    """
    if backend is None:
        backend = "numba" if x.device.type == "cpu" else "torch"
    if backend == "numba":
        y: Tensor = _Compiled.apply(A, gap, x, B, C)
        return y
    h = _loop(torch.exp(gap[:, :, None, None] * A), x, B)
    return torch.einsum("bldn,bln->bld", h, C)


def impulse_states(A: Tensor, gap: Tensor, x: Tensor, B: Tensor) -> Tensor:
    """States right after every step, (batch, L, D, N), of the same scan; no gradient."""
    with torch.no_grad():
        decay = torch.exp(gap[:, :, None, None] * A)
        if x.device.type != "cpu":
            return _loop(decay, x, B)
        h = torch.empty_like(decay)
        _forward(*_arrays(decay, x, B, B, torch.empty_like(x), h))
        return h


def _loop(decay: Tensor, x: Tensor, B: Tensor) -> Tensor:
    if x.shape[1] == 0:
        return decay
    h = torch.zeros_like(decay[:, 0])
    out = []
    for decay_i, x_i, B_i in zip(decay.unbind(1), x.unbind(1), B.unbind(1), strict=True):
        h = decay_i * h + x_i[:, :, None] * B_i[:, None, :]
        out.append(h)
    return torch.stack(out, 1)


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    """Views for numba; an output is contiguous already, so it is written in place."""
    return tuple(t.detach().contiguous().numpy() for t in tensors)


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, gap: Tensor, x: Tensor, B: Tensor, C: Tensor) -> Tensor:
        decay = torch.exp(gap[:, :, None, None] * A)  # torch's exponential is vectorised
        h, y = torch.empty_like(decay), torch.empty_like(x)
        _forward(*_arrays(decay, x, B, C, y, h))
        ctx.save_for_backward(decay, gap, x, B, C, h)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        decay, gap, x, B, C, h = ctx.saved_tensors
        dA = torch.zeros_like(decay[:, 0])  # one a sequence: the sum does not depend on threads
        dx, dB, dC = (torch.empty(t.shape, dtype=t.dtype) for t in (x, B, C))
        _backward(*_arrays(decay, gap, x, B, C, h, grads[0], dA, dx, dB, dC))
        return dA.sum(0), None, dx, dB, dC


@njit(cache=True, parallel=True, fastmath={"contract", "reassoc"})
def _forward(decay, x, B, C, y, h):  # type: ignore[no-untyped-def]
    n, L, D, N = decay.shape
    for b in prange(n):
        for i in range(L):
            for d in range(D):
                total = 0.0 * x[b, i, d]
                for s in range(N):
                    value = x[b, i, d] * B[b, i, s]
                    if i > 0:
                        value += decay[b, i, d, s] * h[b, i - 1, d, s]
                    h[b, i, d, s] = value
                    total += value * C[b, i, s]
                y[b, i, d] = total


@njit(cache=True, parallel=True, fastmath={"contract", "reassoc"})
def _backward(decay, gap, x, B, C, h, dy, dA, dx, dB, dC):  # type: ignore[no-untyped-def]
    n, L, D, N = decay.shape
    for b in prange(n):
        back = np.zeros((D, N), dtype=x.dtype)  # what step i + 1 passes back to h_i
        for i in range(L - 1, -1, -1):
            for s in range(N):
                dB[b, i, s] = 0.0
                dC[b, i, s] = 0.0
            for d in range(D):
                total = 0.0 * x[b, i, d]
                for s in range(N):
                    g = back[d, s] + dy[b, i, d] * C[b, i, s]
                    total += g * B[b, i, s]
                    dB[b, i, s] += g * x[b, i, d]
                    dC[b, i, s] += h[b, i, d, s] * dy[b, i, d]
                    back[d, s] = g * decay[b, i, d, s]
                    if i > 0:
                        dA[b, d, s] += back[d, s] * h[b, i - 1, d, s] * gap[b, i]
                dx[b, i, d] = total
