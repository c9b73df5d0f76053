"""The primitive, the mean and the integral of the softplus of a spline (docs/hawkes.md)."""

import mpmath
import numpy as np
import pytest
import torch
from scipy.integrate import quad

from m3tr.hawkes.spline import spline_softplus
from tests.oracles.softplus import mean_softplus, primitive, softplus_integral

KNOTS = torch.tensor([0.0, 0.1, 0.5, 1.0, 3.0, 10.0], dtype=torch.float64)


def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


def quadrature(a: float, slope: float, length: float) -> float:
    """Adaptive, told where the softplus bends."""
    bend = -a / slope if slope else -1.0
    points = [bend] if 0 < bend < length else None
    found = quad(
        lambda tau: np.logaddexp(0, a + slope * tau), 0, length, points=points, epsabs=0,
        epsrel=1e-12, limit=400,
    )  # fmt: skip
    return found[0]


def test_primitive_is_the_dilogarithm():
    x = np.linspace(-60, 60, 241)
    truth = [float(-mpmath.polylog(2, -mpmath.exp(v)).real) for v in x]
    assert primitive(torch.from_numpy(x)).numpy() == pytest.approx(truth, rel=1e-14)


def test_derivative_of_primitive_is_softplus():
    x = torch.linspace(-20, 20, 501, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(primitive(x).sum(), x)
    assert (slope - torch.nn.functional.softplus(x)).abs().max() < 1e-14


def test_integral_against_quadrature_over_the_range():
    """Relative 1e-9 over |a|, |b s| <= 60, changes of the argument from 1e-8 on."""
    rng = np.random.default_rng(0)
    for i in range(400):
        a = rng.uniform(-60, 60)
        change = rng.uniform(-60, 60) if i % 2 else rng.choice([-1, 1]) * 10 ** rng.uniform(-8, 1)
        length = 10 ** rng.uniform(-6, 6)
        found = softplus_integral(tensor(a), tensor(change / length), tensor(length)).item()
        truth = length * quadrature(a, change, 1.0)
        assert found == pytest.approx(truth, rel=1e-9), (a, change, length)


def test_mean_has_true_gradients_on_both_sides_of_the_switch():
    a = tensor([-40.0, -3.0, -0.1, 0.3, 2.0, 30.0]).requires_grad_()
    for change in (-20.0, -0.26, -0.24, -1e-3, 0.0, 1e-6, 0.2, 0.3, 5.0):
        b = (a.detach() + change).requires_grad_()
        assert torch.autograd.gradcheck(mean_softplus, (a, b), eps=1e-6, atol=1e-8)


def test_integral_of_nothing_is_zero_with_finite_gradients():
    z, slope = torch.zeros(2, dtype=torch.float64).requires_grad_().unbind()
    found = softplus_integral(z, slope, torch.zeros(3, dtype=torch.float64)).sum()
    assert found == 0
    assert all(torch.isfinite(g) for g in torch.autograd.grad(found, (z, slope)))


def spline(z: torch.Tensor, tau: float) -> np.ndarray:
    """The argument of the softplus, by numpy; constant beyond the last knot."""
    return np.array([np.interp(tau, KNOTS.numpy(), row) for row in z.detach().numpy().T])


def test_compiled_spline_is_its_definition():
    rng = np.random.default_rng(1)
    taus = [0.0, 0.1, 0.3, 1.0, 10.0, 25.0, *rng.uniform(0, 12, 20)]
    z = torch.from_numpy(4 * rng.normal(size=(len(taus), len(KNOTS), 3)))
    value, area = spline_softplus(z, KNOTS, tensor(taus))
    for i, tau in enumerate(taus):
        assert value[i].numpy() == pytest.approx(np.logaddexp(0, spline(z[i], tau)), rel=1e-13)
        edges = [k for k in KNOTS.tolist() if k < tau] + [tau]
        for k in range(3):
            whole = sum(
                softplus_integral(
                    tensor(spline(z[i], lo)[k]),
                    tensor((spline(z[i], hi)[k] - spline(z[i], lo)[k]) / (hi - lo)),
                    tensor(hi - lo),
                ).item()
                for lo, hi in zip(edges, edges[1:], strict=False)
                if hi > lo
            )
            assert area[i, k].item() == pytest.approx(whole, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("spread", [3.0, 0.05])
def test_compiled_spline_has_true_gradients(spread):
    g = torch.Generator().manual_seed(2)
    z = torch.randn(9, 1, 2, generator=g) + spread * torch.randn(9, len(KNOTS), 2, generator=g)
    z = z.double().requires_grad_()
    tau = tensor([0.0, 0.05, 0.1, 0.7, 1.0, 2.0, 9.0, 10.0, 40.0])
    assert torch.autograd.gradcheck(lambda z: spline_softplus(z, KNOTS, tau), (z,))


def test_single_precision_is_computed_in_double():
    z = torch.randn(50, len(KNOTS), 2, generator=torch.Generator().manual_seed(3))
    tau = torch.linspace(0, 12, 50, dtype=torch.float64)
    one, two = spline_softplus(z, KNOTS, tau), spline_softplus(z.double(), KNOTS, tau)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
