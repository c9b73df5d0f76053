"""The selective scan over impulses: one interface, three backends.

    h_i = exp(delta_i A) h_{i-1} + B_i u_i,    y_i = (C_i h_i + D u_i) silu(z_i)

An event is an impulse: its input has no factor delta, which would make simultaneous events vanish,
and delta = 0 keeps the state as it is. Three ways to compute it:

- `numba`: compiled for the CPU, backward written by hand, float32 and float64 (`scan_numba.py`).
- `mamba_ssm`: the fused CUDA kernel of that package, float32 (`scan_cuda.py`).
- `torch`: a plain step loop for any device and dtype, the reference for the other two.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import silu

from m3tr.errors import InputError
from m3tr.hawkes import scan_cuda

Backend = Literal["numba", "torch", "mamba_ssm"]


def impulse_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    backend: Backend | None = None,
) -> Tensor:
    """Readout of the scan at every step, with gradients for every argument.

    A padded step with `u = 0` and `delta = 0` changes nothing. Results of `numba` depend neither on
    the number of threads nor, for a sequence, on the rest of its batch (but for the last bit of
    torch's `silu(z)`).

    Parameters
    ----------
    u : (batch, L, dim) tensor
        Inputs; the other arguments share their dtype.
    delta : (batch, L) or (batch, L, dim) tensor
        Time since the previous step, non-negative, for all channels or for each.
    A : (dim, N) tensor
        Negative decay rates per channel and state, per unit of `delta`.
    B, C : (batch, L, N) tensors
        Input and output selection.
    D : (dim,) tensor, optional
        Skip connection; default none.
    z : (batch, L, dim) tensor, optional
        Gate; default none.
    backend : {"numba", "torch", "mamba_ssm"}, optional
        Default: `numba` on the CPU and `mamba_ssm` on CUDA where they can be imported and support
        the dtype, else `torch`.

    Returns
    -------
    (batch, L, dim) tensor
        `y`. See docs/hawkes.md, "The context part".

    Raises
    ------
    InputError
        Where shapes or dtypes do not fit, or the backend does not run here.
    """
    delta = _checked(u, delta, A, B, C, D, z)
    backend = backend or _choice(u, A)
    if backend == "numba":
        y = _numba(u, delta, A, B, C, D)
    elif backend == "mamba_ssm":
        fused = scan_cuda.kernel()
        if not u.is_cuda or u.dtype != torch.float32 or A.shape[1] > scan_cuda.MOST_STATES:
            raise InputError(
                f"scan: the mamba_ssm backend takes float32 on CUDA and {scan_cuda.MOST_STATES} "
                f"states, not {u.dtype} on {u.device} and {A.shape[1]}: choose the torch backend."
            )
        y = scan_cuda.scan(u, delta, A, B, C, fused)
        y = y if D is None else y + D * u
    elif backend == "torch":
        steps = zip(_steps(u, delta, A, B), C.unbind(1), strict=True)
        out = [(h * C_i[:, None, :]).sum(-1) for h, C_i in steps]
        y = torch.stack(out, 1) if out else u.clone()  # nothing, with a gradient
        y = y if D is None else y + D * u
    else:
        raise InputError(f"scan: no backend is called {backend!r}: numba, torch or mamba_ssm.")
    return y if z is None else y * silu(z)


def impulse_states(u: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """States right after every step, (batch, L, dim, N), of the same scan; no gradient."""
    delta = _checked(u, delta, A, B)
    with torch.no_grad():
        if _choice(u, A) == "numba":
            from m3tr.hawkes import scan_numba

            return scan_numba.states(u, delta, A, B)
        out = list(_steps(u, delta, A, B))
        return torch.stack(out, 1) if out else u.new_zeros((*u.shape, A.shape[1]))


def impulse_step(
    h: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of the scan, for simulation.

    Parameters
    ----------
    h : (batch, dim, N) tensor
        State right after the previous step.
    u : (batch, dim) tensor
        Input.
    delta : (batch,) or (batch, dim) tensor
        Time since the previous step.
    A : (dim, N) tensor
        Decay rates.
    B, C : (batch, N) tensors
        Input and output selection.

    Returns
    -------
    h : (batch, dim, N) tensor
        State right after this step.
    y : (batch, dim) tensor
        `C h`, without skip connection and gate.
    """
    delta = delta[:, None] if delta.ndim == 1 else delta
    h = torch.exp(delta[:, :, None] * A) * h + u[:, :, None] * B[:, None, :]
    return h, (h * C[:, None, :]).sum(-1)


def _steps(u: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> Iterator[Tensor]:
    """States step by step over `unbind`: slices would make autograd quadratic in the length."""
    h = u.new_zeros((u.shape[0], *A.shape))
    for u_i, delta_i, B_i in zip(u.unbind(1), delta.unbind(1), B.unbind(1), strict=True):
        h = torch.exp(delta_i[:, :, None] * A) * h + u_i[:, :, None] * B_i[:, None, :]
        yield h


def _numba(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None) -> Tensor:
    from m3tr.hawkes import scan_numba  # heavy, and not needed for the other backends

    if u.device.type != "cpu" or u.dtype not in scan_numba.DTYPES:
        raise InputError(
            f"scan: the numba backend takes float32 or float64 on the CPU, not {u.dtype} "
            f"on {u.device}: choose the torch backend."
        )
    tensors = (u, delta, A, B, C, u.new_zeros(len(A)) if D is None else D)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    y: Tensor = scan_numba.Scan.apply(keep, *tensors)
    return y


def _choice(u: Tensor, A: Tensor) -> Backend:
    if u.is_cuda:
        fused = u.dtype == torch.float32 and A.shape[1] <= scan_cuda.MOST_STATES
        return "mamba_ssm" if fused and scan_cuda.available() else "torch"
    compiled = u.device.type == "cpu" and u.dtype in (torch.float32, torch.float64)
    return "numba" if compiled else "torch"


def _checked(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor | None = None,
    D: Tensor | None = None,
    z: Tensor | None = None,
) -> Tensor:
    """delta as (batch, L, 1 or dim), after a look at everything: compiled code checks no bounds."""
    if u.ndim != 3 or A.ndim != 2:
        raise InputError(
            f"scan: u is {tuple(u.shape)} and A {tuple(A.shape)}, "
            "where (batch, L, dim) and (dim, N) are needed."
        )
    batch, L, dim = u.shape
    N = A.shape[1]
    delta = delta[:, :, None] if delta.ndim == 2 else delta
    rows = (batch, L, dim) if delta.ndim == 3 and delta.shape[2] == dim else (batch, L, 1)
    wanted = {"delta": (delta, rows), "A": (A, (dim, N)), "B": (B, (batch, L, N))}
    wanted |= {"C": (C, (batch, L, N))} if C is not None else {}
    wanted |= {"D": (D, (dim,))} if D is not None else {}
    wanted |= {"z": (z, (batch, L, dim))} if z is not None else {}
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise InputError(
                f"scan: {name} is {tuple(tensor.shape)}, where u {tuple(u.shape)} and "
                f"A {tuple(A.shape)} need {shape}."
            )
        if tensor.dtype != u.dtype:
            raise InputError(f"scan: {name} is {tensor.dtype} and u {u.dtype}: convert one.")
    return delta
