"""Softplus of a linear spline, and its integral, compiled with the gradient by hand.

The mean of softplus over a piece on which its argument runs from `a` to `b` is a difference of
dilogarithms, `(F(b) - F(a)) / (b - a)` with `F(x) = -Li2(-e^x)`. Every loop over the kinds is free
of branches and of library calls, so that it compiles to vector instructions: the exponential and
the logarithm are polynomials, and where the argument hardly changes over a piece the mean comes
from the derivatives at its two ends (Euler and Maclaurin), which are polynomials in their sigmoids.
"""

import math
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from m3tr.hawkes.threads import share

# below this change of the argument the end corrections are exact to 1e-12
SMALL = 0.3
# B_2k / (2k + 1)! for k = 8, ..., 1: the Bernoulli series of the dilogarithm
_SERIES = (
    -3617 / 181400588328960000,
    1 / 1120863744000,
    -691 / 16999766784000,
    1 / 526901760,
    -1 / 10886400,
    1 / 211680,
    -1 / 3600,
    1 / 36,
)
_REFLECT = math.pi**2 / 6
_EXP = tuple(math.log(2) ** n / math.factorial(n) for n in range(12, -1, -1))
_ATANH = tuple(1 / n for n in range(23, 0, -2))
_LOG2E, _LN2 = 1 / math.log(2), math.log(2)
_ROUND = 1.5 * 2.0**52  # adding it leaves the nearest whole number in the lowest bits
_ONE = np.int64(1023 << 52)


def spline_softplus(z: Tensor, knots: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """`softplus(g(tau))` and its integral over `(0, tau]`, `g` the linear spline through `z`.

    Parameters
    ----------
    z : (N, R + 1, K) tensor
        Values of each kind's spline at the knots.
    knots : (R + 1,) float64 tensor
        Ascending from 0, `R >= 1`; beyond the last, `g` stays as it is there.
    tau : (N,) float64 tensor
        Elapsed time, non-negative, in the unit of the knots; no gradient.

    Returns
    -------
    value, area : (N, K) float64 tensors
        `area` is in the unit of the knots. See docs/hawkes.md, "The context part".
    """
    return _Spline.apply(z, knots, tau)


class _Spline(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, knots: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        N, _, K = z.shape
        value, area, sigmoid = (torch.empty(N, K, dtype=torch.float64) for _ in range(3))
        wanted = ctx.needs_input_grad[0]
        slopes = torch.empty(z.shape if wanted else (0, 0, 0), dtype=z.dtype)
        piece, part = torch.empty(N, dtype=torch.int64), torch.empty(N, dtype=torch.float64)
        share(_forward, N, z.numel(), z, knots, tau, value, area, sigmoid, slopes, piece, part)
        ctx.save_for_backward(slopes, sigmoid, piece, part)
        return value, area

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes, *saved = ctx.saved_tensors
        out = torch.empty_like(slopes)
        share(_backward, len(out), out.numel(), *grads, slopes, *saved, out)
        return out, None, None


@intrinsic
def _bits(typing: Any, x: Any) -> Any:
    """The bits of a float64 as an int64."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), code


@intrinsic
def _number(typing: Any, bits: Any) -> Any:
    """The float64 that has these bits."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), code


@njit(cache=True, inline="always")
def _series(x, coefficients):  # type: ignore[no-untyped-def]
    total = 0.0
    for c in coefficients:
        total = total * x + c
    return total


@njit(cache=True, inline="always")
def _softplus(x):  # type: ignore[no-untyped-def]
    """softplus(x), sigmoid(x) and the dilogarithm F(x), each to a few units in the last place."""
    y = max(-abs(x), -700.0) * _LOG2E
    shifted = y + _ROUND
    power = _number((_bits(shifted) << 52) + _ONE)
    e = power * _series(y - (shifted - _ROUND), _EXP)  # exp(-|x|)
    # log(1 + e) = 2 atanh(s), with 1 + e halved above the root of 2
    upper = e > 0.41421356
    s = (e - 1) / (e + 3) if upper else e / (2 + e)
    u = 2 * s * _series(s * s, _ATANH) + (_LN2 if upper else 0.0)
    inverse = 1 / (1 + e)
    P = u * (1 + u / 4 + u * u * _series(u * u, _SERIES))
    positive = x > 0
    value = x + u if positive else u
    sigmoid = inverse if positive else e * inverse
    F = x * x / 2 + _REFLECT - P if positive else P
    return value, sigmoid, F


@njit(cache=True, inline="always")
def _mean(a, b, fa, fb, sa, sb, Fa, Fb):  # type: ignore[no-untyped-def]
    """Mean of softplus from `a` to `b`, and its derivatives by `a` and by `b`.

    `f` is softplus, `s` its derivative and `F` its primitive at the two ends.
    """
    c = b - a
    small = abs(c) < SMALL
    # odd and even derivatives of softplus, from its first and second
    qa, qb = sa * (1 - sa), sb * (1 - sb)
    ta, tb = qa * (1 - 2 * sa), qb * (1 - 2 * sb)
    d1, d3 = sb - sa, tb - ta
    d5 = tb * (1 - 12 * qb) - ta * (1 - 12 * qa)
    d7 = tb * (1 - 60 * qb + 360 * qb * qb) - ta * (1 - 60 * qa + 360 * qa * qa)
    v = c * c
    near = (fa + fb) / 2 - c * (d1 / 12 - v * (d3 / 720 - v * (d5 / 30240 - v * d7 / 1209600)))
    # the same series by c alone, then by each end with c held
    by_c = d1 / 12 - v * (d3 / 240 - v * (d5 / 6048 - v * d7 / 172800))
    ga = c * qa * (1 / 12 - v * ((1 - 6 * qa) / 720 - v * (1 - 30 * qa + 120 * qa * qa) / 30240))
    gb = c * qb * (1 / 12 - v * ((1 - 6 * qb) / 720 - v * (1 - 30 * qb + 120 * qb * qb) / 30240))
    inverse = 1 / (1.0 if small else c)
    far = (Fb - Fa) * inverse
    mean = near if small else far
    by_a = sa / 2 + by_c + ga if small else (far - fa) * inverse
    by_b = sb / 2 - by_c - gb if small else (fb - far) * inverse
    return mean, by_a, by_b


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _forward(first, last, z, knots, tau, value, area, sigmoid, slopes, piece, part):  # type: ignore[no-untyped-def]
    n, K = z.shape[1:]
    wanted = slopes.shape[0] > 0
    # at the knots passed, and at tau
    x, f = np.empty((n + 1) * K), np.empty((n + 1) * K)
    s, F = np.empty((n + 1) * K), np.empty((n + 1) * K)
    by = np.zeros((n + 1) * K)
    for i in range(first, last):
        t = tau[i]
        p = 0
        while p < n - 1 and knots[p + 1] <= t:
            p += 1
        rest = t - knots[p]
        u = rest / (knots[p + 1] - knots[p]) if p < n - 1 else 0.0
        piece[i], part[i] = p, u
        q = min(p + 1, n - 1)
        for k in range(K):
            for r in range(p + 1):
                x[r * K + k] = z[i, r, k]
            x[(p + 1) * K + k] = (1 - u) * z[i, p, k] + u * z[i, q, k]
        for j in range((p + 2) * K):
            f[j], s[j], F[j] = _softplus(x[j])
            by[j] = 0.0
        for k in range(K):
            area[i, k] = 0.0
        for r in range(p + 1):
            h = rest if r == p else knots[r + 1] - knots[r]
            lo, hi = r * K, (r + 1) * K
            for k in range(K):
                a, b = lo + k, hi + k
                mean, by_a, by_b = _mean(x[a], x[b], f[a], f[b], s[a], s[b], F[a], F[b])
                area[i, k] += h * mean
                by[a] += h * by_a
                by[b] += h * by_b
        end = (p + 1) * K
        for k in range(K):
            value[i, k] = f[end + k]
            sigmoid[i, k] = s[end + k]
        if wanted:
            for r in range(p + 1):
                for k in range(K):
                    slopes[i, r, k] = by[r * K + k]
            for r in range(p + 1, n):
                for k in range(K):
                    slopes[i, r, k] = 0.0
            for k in range(K):
                slopes[i, p, k] += (1 - u) * by[end + k]
                slopes[i, q, k] += u * by[end + k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _backward(first, last, by_value, by_area, slopes, sigmoid, piece, part, out):  # type: ignore[no-untyped-def]
    n, K = slopes.shape[1:]
    for i in range(first, last):
        p, u = piece[i], part[i]
        q = min(p + 1, n - 1)
        for r in range(n):
            for k in range(K):
                out[i, r, k] = by_area[i, k] * slopes[i, r, k]
        for k in range(K):
            at = by_value[i, k] * sigmoid[i, k]
            out[i, p, k] += (1 - u) * at
            out[i, q, k] += u * at
