"""Exact integrals of a softplus whose argument is a linear spline in time.

The mean of `softplus` over a piece on which its argument runs from `a` to `b` is a difference of
dilogarithms, `(F(b) - F(a)) / (b - a)` with `F(x) = -Li2(-e^x)`. Where `b - a` is small, that
difference would lose digits, and the Taylor series about the middle takes its place.
`mean_softplus` is the readable form in torch; `spline_softplus` is compiled, with its gradient by
hand.
"""

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.nn.functional import softplus

# up to this change of the argument the series is exact to 1e-12; beyond it, the difference is
SMALL = 0.25
# B_2k / (2k + 1)! for k = 1..8, the Bernoulli series of the dilogarithm
_SERIES = (
    1 / 36,
    -1 / 3600,
    1 / 211680,
    -1 / 10886400,
    1 / 526901760,
    -691 / 16999766784000,
    1 / 1120863744000,
    -3617 / 181400588328960000,
)
_REFLECT = math.pi**2 / 6


def primitive(x: Tensor) -> Tensor:
    """`F(x)`, the integral of softplus from minus infinity to `x`: `-Li2(-e^x)`, to 1e-15.

    A series in `u = softplus(-|x|) <= log 2` and its reflection; `float64`, any shape.
    """
    u = softplus(-x.abs())
    v = u * u
    series = torch.zeros_like(u)
    for coefficient in reversed(_SERIES):
        series = coefficient + v * series
    P = u * (1 + u / 4 + v * series)
    return torch.where(x <= 0, P, x * x / 2 + _REFLECT - P)


def mean_softplus(a: Tensor, b: Tensor) -> Tensor:
    """Mean of softplus over an argument that runs linearly from `a` to `b`; shapes broadcast.

    Relative error below 1e-11 for `|a|, |b| <= 100` in float64, with gradients.
    """
    change = b - a
    small = change.abs() < SMALL
    # the divisor is replaced where it is not used, so that no gradient there is infinite
    exact = (primitive(b) - primitive(a)) / torch.where(small, torch.ones_like(change), change)
    middle, c = (a + b) / 2, change * change
    q = torch.sigmoid(middle) * torch.sigmoid(-middle)  # the second derivative of softplus
    bend = 1 / 24 + c * ((1 - 6 * q) / 1920 + c * (1 - 30 * q + 120 * q * q) / 322560)
    return torch.where(small, softplus(middle) + c * q * bend, exact)


def softplus_integral(z: Tensor, slope: Tensor, length: Tensor) -> Tensor:
    """Integral over `tau` in `(0, length]` of `softplus(z + slope tau)`, exact for every slope.

    With intensity `s softplus((a + b tau) / s)`: `z = a / s`, `slope = b / s`, times `s`. Shapes
    broadcast; use float64.
    """
    return length * mean_softplus(z, z + slope * length)


def spline_softplus(z: Tensor, knots: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """`softplus(g(tau))` and its integral over `(0, tau]`, `g` the linear spline through `z`.

    Parameters
    ----------
    z : (N, K, R + 1) tensor
        Values of each spline at the knots.
    knots : (R + 1,) float64 tensor
        Ascending from 0, `R >= 1`; beyond the last, `g` stays as it is there.
    tau : (N,) float64 tensor
        Elapsed time, non-negative, in the unit of the knots; no gradient.

    Returns
    -------
    value, area : (N, K) float64 tensors
        `area` is in the unit of the knots. See docs/hawkes.md, "The context part".
    """
    return _Spline.apply(z, knots, tau)  # type: ignore[no-any-return]


class _Spline(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, knots: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        N, K, _ = z.shape
        value, area = (torch.empty(N, K, dtype=torch.float64) for _ in range(2))
        wanted = ctx.needs_input_grad[0]
        slopes = torch.zeros(z.shape if wanted else (N, 0, 0), dtype=z.dtype)
        at, share = torch.empty(N, dtype=torch.int64), torch.empty(N, dtype=torch.float64)
        sigmoid = torch.empty(N, K, dtype=torch.float64)
        arrays = (z, knots, tau, value, area, slopes, sigmoid, at, share)
        _forward(*(t.detach().contiguous().numpy() for t in arrays), wanted)
        ctx.save_for_backward(slopes, sigmoid, at, share)
        return value, area

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes, sigmoid, at, share = ctx.saved_tensors
        out = torch.empty_like(slopes)
        arrays = (*grads, slopes, sigmoid, at, share, out)
        _backward(*(t.detach().contiguous().numpy() for t in arrays))
        return out, None, None


@njit(cache=True, inline="always")
def _softplus(x):  # type: ignore[no-untyped-def]
    """softplus(x), its derivative, and F(x)."""
    e = math.exp(-abs(x))
    u = math.log1p(e)
    v = u * u
    series = 0.0
    for i in range(7, -1, -1):
        series = _SERIES[i] + v * series
    P = u * (1 + u / 4 + v * series)
    if x <= 0:
        return u, e / (1 + e), P
    return x + u, 1 / (1 + e), x * x / 2 + _REFLECT - P


@njit(cache=True, inline="always")
def _mean(a, b, at_a, at_b, Fa, Fb):  # type: ignore[no-untyped-def]
    """`mean_softplus(a, b)` and its derivatives by `a` and `b`; `at_a` is softplus(a)."""
    change = b - a
    if abs(change) >= SMALL:
        mean = (Fb - Fa) / change
        return mean, (mean - at_a) / change, (at_b - mean) / change
    middle = (a + b) / 2
    e = math.exp(-abs(middle))
    u = math.log1p(e)
    s = e / (1 + e) if middle <= 0 else 1 / (1 + e)
    value = u if middle <= 0 else middle + u
    q = s * (1 - s)
    c = change * change
    p4, p6 = 1 - 6 * q, 1 - 30 * q + 120 * q * q
    mean = value + c * q * (1 / 24 + c * (p4 / 1920 + c * p6 / 322560))
    turn = q * (1 - 2 * s)
    odd5, odd7 = 1 - 12 * q, 1 - 60 * q + 360 * q * q
    by_middle = s + c * turn * (1 / 24 + c * (odd5 / 1920 + c * odd7 / 322560))
    by_change = change * q * (1 / 12 + c * (p4 / 480 + c * p6 / 53760))
    return mean, by_middle / 2 - by_change, by_middle / 2 + by_change


@njit(cache=True, parallel=True)
def _forward(z, knots, tau, value, area, slopes, sigmoid, at, share, wanted):  # type: ignore[no-untyped-def]
    N, K, n = z.shape
    for i in prange(N):
        t = tau[i]
        p = 0
        while p < n - 1 and knots[p + 1] <= t:
            p += 1
        u = (t - knots[p]) / (knots[p + 1] - knots[p]) if p < n - 1 else 0.0
        at[i], share[i] = p, u
        for k in range(K):
            a = np.float64(z[i, k, 0])
            at_a, slope_a, F_a = _softplus(a)
            total = 0.0
            for r in range(p):
                b = np.float64(z[i, k, r + 1])
                at_b, slope_b, F_b = _softplus(b)
                mean, by_a, by_b = _mean(a, b, at_a, at_b, F_a, F_b)
                h = knots[r + 1] - knots[r]
                total += h * mean
                if wanted:
                    slopes[i, k, r] += h * by_a
                    slopes[i, k, r + 1] += h * by_b
                a, at_a, slope_a, F_a = b, at_b, slope_b, F_b
            rest = t - knots[p]
            if u > 0.0:
                b = (1 - u) * a + u * np.float64(z[i, k, p + 1])
                at_b, slope_b, F_b = _softplus(b)
                mean, by_a, by_b = _mean(a, b, at_a, at_b, F_a, F_b)
                total += rest * mean
                if wanted:
                    slopes[i, k, p] += rest * (by_a + (1 - u) * by_b)
                    slopes[i, k, p + 1] += rest * u * by_b
                at_a, slope_a = at_b, slope_b
            elif rest > 0.0:
                total += rest * at_a
                if wanted:
                    slopes[i, k, p] += rest * slope_a
            value[i, k], area[i, k], sigmoid[i, k] = at_a, total, slope_a


@njit(cache=True, parallel=True)
def _backward(by_value, by_area, slopes, sigmoid, at, share, out):  # type: ignore[no-untyped-def]
    N, K, n = slopes.shape
    for i in prange(N):
        p, u = at[i], share[i]
        for k in range(K):
            for r in range(n):
                out[i, k, r] = by_area[i, k] * slopes[i, k, r]
            by = by_value[i, k] * sigmoid[i, k]
            out[i, k, p] += (1 - u) * by
            if u > 0.0:
                out[i, k, p + 1] += u * by
