"""The selective scan on CUDA, by the fused kernel of the package mamba-ssm.

That kernel computes `h_i = exp(d_i A) h_{i-1} + d_i B_i v_i` over (batch, dim, L). An impulse is
had with `v_i = u_i / d_i`, `d_i = max(delta_i, FLOOR)`, for delta = 0 is legal. `FLOOR` is a power
of two, so that at a tie `d_i v_i` is `u_i` to the bit, and so small that `exp(FLOOR A)` is 1 in
float32 for every rate below 2^39.

The gradient of delta needs another way. Through `v` the chain rule gives, with `g_i = dL/dh_i`,

    dL/ddelta_i = sum_n A_n a_in h_{i-1,n} g_in + v_i sum_n B_in g_in - u_i / d_i sum_n B_in g_in

whose last two terms cancel on paper only: both grow like `1 / delta`, and for short gaps their
rounding errors swamp the first, the true one (and below the floor the first would be lost too).
So, if delta has a gradient, every step becomes two: the gap alone, (delta_i, v = 0), and then the
impulse alone, (FLOOR, u_i / FLOOR). The kernel's gradient of the former's gap is the first sum
exactly; the latter's is a constant. It costs twice the length, and only then.
"""

import functools
import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from m3tr.errors import InputError

FLOOR = 2.0**-64
MOST_STATES = 256  # a limit of the kernel

# (u, delta, A, B, C, D, z, delta_bias, delta_softplus) to y, over (batch, dim, L)
Kernel = Callable[..., Tensor]


def kernel() -> Kernel:
    """The fused kernel; `InputError` where it cannot be imported."""
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
        found: Kernel = module.selective_scan_fn
    except Exception as error:  # without CUDA its own imports fail in several ways
        raise InputError(
            "scan: the mamba_ssm backend needs CUDA and the package mamba-ssm with its kernels "
            f"(MAMBA_KEEP_CUDA_BUILD=TRUE pip install 'm3tr[gpu]'); importing it gave: {error}"
        ) from error
    return found


@functools.cache
def available() -> bool:
    """Whether the fused kernel can be imported; looked up once, for a failed import is slow."""
    try:
        kernel()
    except InputError:
        return False
    return True


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, fused: Kernel) -> Tensor:
    """`y_i = C_i h_i` of the impulse scan, (batch, L, dim).

    Parameters
    ----------
    u, delta, A, B, C : tensors
        As in `m3tr.hawkes.scan.impulse_scan`; delta (batch, L, 1) or (batch, L, dim).
    fused : callable
        `selective_scan_fn` or a function with its meaning. Its own `D` and `z` are not used: they
        would act on `v` instead of `u`.
    """
    if u.numel() == 0:
        return u.clone()  # the kernel takes no empty sequence
    apart = delta.requires_grad and torch.is_grad_enabled()
    if apart:
        floor = torch.full_like(delta, FLOOR)
        d = torch.stack([delta, floor], 2).flatten(1, 2)
        v = torch.stack([torch.zeros_like(u), u / FLOOR], 2).flatten(1, 2)
        B, C = B.repeat_interleave(2, 1), C.repeat_interleave(2, 1)
    else:
        d = delta.clamp(min=FLOOR)
        v = u / d
    d = d.expand(-1, -1, u.shape[2])
    v, d, B, C = (t.transpose(1, 2).contiguous() for t in (v, d, B, C))
    y = fused(v, d, A.contiguous(), B, C, None, None, None, False).transpose(1, 2)
    return y[:, 1::2] if apart else y
