"""The primitive and the integral of the softplus (docs/hawkes.md)."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import spence

from m3tr.hawkes.softplus import primitive, softplus_integral


def test_primitive_is_the_dilogarithm():
    x = np.linspace(-30, 30, 2001)
    found = primitive(torch.from_numpy(x)).numpy()
    assert np.abs(found + spence(1 + np.exp(x))).max() < 1e-10


def test_derivative_of_primitive_is_softplus():
    x = torch.linspace(-20, 20, 501, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(primitive(x).sum(), x)
    assert (slope - torch.nn.functional.softplus(x)).abs().max() < 1e-9


@pytest.mark.parametrize("slope", [-5.0, -1e-2, -1e-5, 0.0, 1e-8, 9e-4, 1.1e-3, 0.3, 40.0])
@pytest.mark.parametrize("z", [-12.0, -0.4, 0.0, 3.0, 60.0])
def test_integral_against_quadrature(z, slope):
    length = 1.7
    truth, _ = quad(lambda tau: np.logaddexp(0, z + slope * tau), 0, length, epsabs=1e-13)
    args = (torch.tensor(v, dtype=torch.float64) for v in (z, slope, length))
    assert softplus_integral(*args).item() == pytest.approx(truth, rel=1e-6, abs=1e-10)


def test_integral_of_nothing_is_zero_with_finite_gradients():
    z, slope = torch.zeros(2, dtype=torch.float64).requires_grad_().unbind()
    found = softplus_integral(z, slope, torch.zeros(3, dtype=torch.float64)).sum()
    assert found == 0
    assert all(torch.isfinite(g) for g in torch.autograd.grad(found, (z, slope)))
