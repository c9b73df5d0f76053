"""Exact integrals of a softplus whose argument is a linear spline in time.

The mean of `softplus` over a piece on which its argument runs from `a` to `b` is a difference of
dilogarithms, `(F(b) - F(a)) / (b - a)` with `F(x) = -Li2(-e^x)`. Where `b - a` is small, that
difference would lose digits, and the Taylor series about the middle takes its place.
This is the readable form of what `m3tr.hawkes.spline` compiles.
"""

import math

import torch
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
