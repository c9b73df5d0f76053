"""Exact integrals of a softplus of a linear function of time."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

# below this change of the argument the difference of two primitives loses digits
SMALL = 1e-3
_NODES = (0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970263)
_WEIGHTS = (0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692)


def primitive(x: Tensor) -> Tensor:
    """`F(x)`, the integral of softplus from minus infinity to `x`: `-Li2(-e^x)`, to 3e-11.

    A polynomial in `u = softplus(-|x|)` (Bernoulli series of the dilogarithm) and its reflection;
    `float64`, any shape.
    """
    u = softplus(-x.abs())
    v = u * u
    series = 1 / 36 + v * (-1 / 3600 + v * (1 / 211680 - v / 10886400))
    P = u * (1 + u / 4 + v * series)
    return torch.where(x <= 0, P, x * x / 2 + math.pi**2 / 6 - P)


def softplus_integral(z: Tensor, slope: Tensor, length: Tensor) -> Tensor:
    """Integral over `tau` in `(0, length]` of `softplus(z + slope tau)`, exact for every slope.

    With intensity `s softplus((a + b tau) / s)`: `z = a / s`, `slope = b / s`, times `s`. Shapes
    broadcast; use float64.
    """
    change = slope * length
    small = change.abs() < SMALL
    # the divisor is replaced where it is not used, so that no gradient there is infinite
    divisor = torch.where(small, torch.ones_like(change), change)
    exact = (primitive(z + change) - primitive(z)) / divisor
    mean = sum(w * softplus(z + n * change) for n, w in zip(_NODES, _WEIGHTS, strict=True))
    return length * torch.where(small, mean, exact)
