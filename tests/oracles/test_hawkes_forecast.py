"""Expected counts against closed forms and simulation."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.integrate import quad

from m3tr.hawkes.events import batch
from m3tr.hawkes.forecast import expected_counts, expected_events
from m3tr.hawkes.simulate import simulate_counts
from tests.oracles.builders import expected_univariate

ALPHA = np.array([[[0.3, 0.1], [0.0, 0.2]], [[0.2, 0.0], [0.3, 0.2]]])
DECAYS, MU = [0.05, 0.8], np.array([4.0, 1.0])


def history(n=25, end=2.0, kinds=2, seed=0):
    rng = np.random.default_rng(seed)
    t, k = np.sort(rng.uniform(0, end, n)), rng.integers(0, kinds, n)
    frame = pl.DataFrame({"sequence": ["v"] * n, "time": t, "kind": k.astype(str)})
    return t, k, batch(frame, ["v"], [end], [str(i) for i in range(kinds)])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 0.99999, 1.0, 1.3])
def test_matrix_exponential_gives_the_univariate_form(build, alpha):
    model = build.classical([3.0], [[[alpha]]], [0.4])
    _, _, events = history(kinds=1)
    leads = np.array([0.0, 0.01, 1.0, 5.0])
    found = expected_events(model, events, leads)[0, :, 0].detach().numpy()
    rate = model(events).right.item()
    closed = expected_univariate(3.0, alpha / 0.4, 1 / 0.4, rate, leads)
    assert np.abs(found - closed).max() <= 1e-9 * closed.max()
    if alpha in (0.6, 1.3):
        k, L = (1 - alpha) / 0.4, 3.0 / (1 - alpha)
        by_hand = L * leads + (rate - L) * (1 - np.exp(-k * leads)) / k
        assert np.allclose(closed, by_hand, rtol=1e-12)


def test_expected_counts_against_simulation(build):
    model = build.classical(MU, ALPHA, DECAYS)
    t, k, events = history()
    jump = (model.alpha * model.beta[:, None, None]).detach().numpy()
    for lead in (0.1, 2.0):
        counts = simulate_counts(
            np.zeros(1), MU[None], jump, model.beta.numpy(), end=2.0 + lead, seed=5,
            n_paths=20_000, history=(t, k, np.ones(len(t))), start=2.0,
        )  # fmt: skip
        error = counts.std(0) / np.sqrt(len(counts))
        found = expected_events(model, events, [lead])[0, 0].detach().numpy()
        assert (np.abs(counts.mean(0) - found) < 3.5 * error).all()


def test_marks_enter_by_their_mean(build):
    """A constant count of 3 is a weight of 2: the same as doubled branching."""
    marked, plain = build.classical(MU, ALPHA / 2, DECAYS), build.classical(MU, ALPHA, DECAYS)
    marked.mean_weight.fill_(2.0)
    _, _, events = history()
    other = history()[2]
    other.count.fill_(3.0)
    one, two = expected_events(marked, other, [1.0]), expected_events(plain, events, [1.0])
    assert torch.allclose(one, two, rtol=1e-12)
    assert torch.allclose(expected_counts(marked, other, [1.0]), 3 * one, rtol=1e-12)


def test_final_size_without_immigration(build):
    n, scale = 0.7, 0.5
    model = build.classical([1e-12], [[[n]]], [scale])
    t, _, events = history(kinds=1)
    expected = (n * np.exp(-(2.0 - t) / scale) / (1 - n)).sum()
    found = expected_events(model, events, [200.0]).item()
    assert found == pytest.approx(expected, rel=1e-6)


def test_many_distinct_leads_are_as_exact_as_one(build):
    model = build.classical(MU, ALPHA, DECAYS)
    _, _, one = history()
    events = one.select(np.zeros(300, dtype=int))
    leads = np.random.default_rng(0).uniform(0, 6, (300, 1))
    many = expected_events(model, events, leads).detach()
    few = expected_events(model, one, leads[:20, 0])[0].detach()
    assert torch.allclose(many[:20, 0], few, rtol=1e-12)


def test_softplus_part_alone_is_integrated_exactly(build):
    """With `alpha = 0` nothing feeds back: the plug-in path is the integral of the intensity."""
    model = build.neural(classical=False)
    events = build.events((0, 6))
    lead = 0.4
    found = expected_events(model, events, [lead])[:, 0].detach()
    for i in range(2):
        row = events.select([i])
        last = row.time[row.mask].max().item() if row.mask.any() else 0.0
        bends = [last + knot - 3.0 for knot in model.knots.tolist() if 0 < last + knot - 3.0 < lead]

        def rate(tau, k, row=row):
            with torch.no_grad():
                return model.intensity(row, row.end[:, None] + tau)[0, 0, k].item()

        for k in range(2):
            truth = quad(rate, 0, lead, args=(k,), points=bends or None, epsabs=1e-11)[0]
            assert found[i, k].item() == pytest.approx(truth, rel=1e-8)


def test_a_subcritical_kind_stays_exact_beside_an_exploding_one(build):
    alpha = np.diag([1.5, 0.5])[None]
    _, _, events = history()
    both = build.classical(MU, alpha, [0.01])
    found = expected_events(both, events, [300.0])[0, 0]
    rate = both(events).right[0, 1].item()
    assert found[0] == 1e12
    assert found[1].item() == pytest.approx(expected_univariate(1.0, 50.0, 100.0, rate, 300.0))


def test_supercritical_means_stay_finite(build):
    model = build.classical(MU, 40 * ALPHA, [0.005, 0.8])
    _, _, events = history()
    found = expected_events(model, events, [0.001, 1.0, 30.0, 1000.0])
    assert torch.isfinite(found).all() and found.max() == 1e12
    assert (found.diff(dim=1) >= 0).all()
