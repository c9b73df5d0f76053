"""The likelihood against its definition: O(N^2) sums, quadrature, Poisson, classical reduction."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import approx_fprime

from m3tr.hawkes.likelihood import log_likelihood
from tests.oracles.softplus import softplus_integral

MU = [0.7, 2.0]
ALPHA = [[[0.05, 0.02], [0.0, 0.1]], [[0.01, 0.0], [0.06, 0.03]]]
DECAYS = [0.02, 1.5]


@pytest.mark.parametrize("marks", ["log", "linear"])
@pytest.mark.parametrize("tied", [False, True])
def test_recursion_equals_the_double_sum(build, marks, tied):
    model = build.classical(MU, ALPHA, DECAYS, marks, ["a", "b"])
    events = build.events((0, 1, 40, 160), tied=tied)
    found = log_likelihood(model, events)
    for i in range(len(events)):
        on = events.mask[i]
        time, kind, count = (t[i, on].numpy() for t in (events.time, events.kind, events.count))
        weight = np.log2(1 + count) if marks == "log" else count
        logs, area = build.brute_force(time, kind, weight, 3.0, MU, ALPHA, model.beta.numpy())
        assert np.abs(found.event[i, on].detach().numpy() - logs).max(initial=0) < 1e-10
        assert np.abs(found.compensator[i].detach().numpy() / area - 1).max() < 1e-12
        assert found.total[i].item() == pytest.approx(logs.sum() - area.sum(), rel=1e-11)


@pytest.mark.parametrize("classical", [True, False])
def test_compensator_is_the_integral_of_the_intensity(build, classical):
    model = build.neural(classical=classical)
    events = build.events((0, 5))
    found = log_likelihood(model, events).compensator.detach().numpy()
    for i in range(2):
        row = events.select([i])
        edges = [0.0, *row.time[row.mask].tolist(), 3.0]
        for k in range(2):

            def rate(t, k=k, row=row):
                return model.intensity(row, torch.tensor([[t]], dtype=torch.float64))[
                    0, 0, k
                ].item()

            with torch.no_grad():
                parts = [
                    quad(rate, a, b, epsabs=1e-11)[0]
                    for a, b in zip(edges, edges[1:], strict=False)
                ]
            assert found[i, k] == pytest.approx(sum(parts), rel=1e-8)


def test_terms_are_intensities_of_the_past_alone(build):
    """Each event's term from a batch that holds nothing at or after it."""
    model, events = build.neural(), build.events((12,), tied=True)
    found = log_likelihood(model, events).event[0]
    for j, t in enumerate(events.time[0].tolist()):
        before = events.select([0])
        before.mask[:] = events.time < t
        rate = model.intensity(before, torch.tensor([[t]], dtype=torch.float64))
        assert found[j].item() == pytest.approx(
            rate[0, 0, events.kind[0, j]].log().item(), abs=1e-9
        )


def test_poisson(build):
    model = build.neural(classical=False, context=False)
    events = build.events((9,), kinds=("a", "b"))
    mu = model.mu.detach()
    n = torch.bincount(events.kind[0], minlength=2)
    closed = (n * mu.log()).sum() - mu.sum() * 3.0
    assert log_likelihood(model, events).total.item() == pytest.approx(closed.item(), rel=1e-13)


def test_without_softplus_it_is_the_classical_process(build):
    model, events = build.neural(), build.events()
    plain = build.neural(context=False)
    with torch.no_grad():
        plain.alpha.copy_(model.alpha)
        plain.log_mu.copy_(model.log_mu)
        model.log_s.fill_(-800.0)  # s = 0: the softplus term is off
        model.gain.weight.fill_(0.0)  # and no gate
        model.gain.bias.fill_(0.0)
    a, b = log_likelihood(model, events).total, log_likelihood(plain, events).total
    assert torch.equal(a, b)


def test_gradients_against_finite_differences(build):
    model, events = build.neural(width=4, state=3), build.events((6, 3))
    total = log_likelihood(model, events).total.sum()
    block = model.net.blocks[0]
    outer = [
        model.alpha,
        model.log_mu,
        model.head.bias,
        model.gain.weight,
        model.log_s,
        model.net.start,
    ]
    learned = [*outer, block.log_scale, block.select.weight]
    gradients = torch.autograd.grad(total, learned)
    for parameter, gradient in zip(learned, gradients, strict=True):
        kept = parameter.detach().clone()

        def value(flat, parameter=parameter, kept=kept):
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(flat).view_as(kept))
                out = log_likelihood(model, events).total.sum().item()
                parameter.copy_(kept)
            return out

        numeric = approx_fprime(kept.numpy().ravel(), value, 1e-6)
        assert np.abs(gradient.numpy().ravel() - numeric).max() < 1e-3 * (1 + np.abs(numeric).max())


def test_softplus_scale_is_the_documented_one(build):
    """`s softplus((a + b tau) / s)` and the parametrisation in units of `s` are one function."""
    s, a, b, d = (torch.tensor(v, dtype=torch.float64) for v in (2.5, 0.7, -1.2, 1.3))
    truth, _ = quad(lambda tau: 2.5 * np.logaddexp(0, (0.7 - 1.2 * tau) / 2.5), 0, 1.3)
    assert (s * softplus_integral(a / s, b / s, d)).item() == pytest.approx(truth, rel=1e-9)
