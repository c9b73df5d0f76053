"""Simulation of the whole process against closed forms, integral equations and time rescaling."""

import numpy as np
import pytest
import torch

from m3tr.errors import InputError
from m3tr.hawkes import thinning
from m3tr.hawkes.events import EventBatch, ties
from m3tr.hawkes.residuals import compensator_increments, ks
from m3tr.hawkes.simulate import simulate_counts
from m3tr.hawkes.stepping import memory_of, step
from m3tr.hawkes.thinning import Paths, simulate_paths


def nothing(n=1) -> EventBatch:
    """New sequences: no events in a window of length 0."""
    empty = torch.zeros(n, 0, dtype=torch.float64)
    kind, mask = empty.long(), empty.bool()
    return EventBatch(empty, kind, empty, mask, torch.zeros(n, dtype=torch.float64))


def gathered(*args, **options) -> Paths:
    """All blocks of a simulation."""
    blocks = [found for _, found in simulate_paths(*args, **options)]
    names = ("row", "path", "time", "kind", "count")
    return Paths(*(np.concatenate([getattr(b, name) for b in blocks]) for name in names))


def as_batch(found: Paths, n: int, end: float) -> EventBatch:
    """Path `p` as sequence `p`."""
    number = np.bincount(found.path, minlength=n)
    at = (found.path, np.arange(len(found.path)) - (number.cumsum() - number)[found.path])
    parts = []
    for values, kind in ((found.time, float), (found.kind, int), (found.count, float), (1, bool)):
        part = np.zeros((n, number.max()), dtype=kind)
        part[at] = values
        parts.append(torch.from_numpy(part))
    return EventBatch(*parts, end=torch.full((n,), end, dtype=torch.float64))


def set_(model, **values):
    """Overwrite parameters of a model."""
    with torch.no_grad():
        for name, value in values.items():
            part = dict(model.named_parameters())[name.replace("__", ".")]
            part.copy_(torch.as_tensor(value, dtype=part.dtype).expand_as(part))
    return model


@pytest.mark.parametrize("settings", [{}, {"layers": 3, "width": 8, "state": 2}])
def test_stepping_through_a_history_is_running_over_it(build, settings):
    model = build.neural(**({"layers": 2} | settings))
    tied = ties(build.events((0, 1, 23), tied=True), 2, "log")
    with torch.no_grad():
        whole = model.net(tied, model.beta, model.knots)
        at_end = memory_of(model.net, tied, model.beta, model.knots)
        memory = [torch.zeros_like(h[2:]) for h in at_end]
        for g in range(int(tied.mask[2].sum())):
            one = tied._replace(
                **{f: getattr(tied, f)[2:, g : g + 1] for f in ("time", "number", "total", "mark")},
                step=tied.step[2:, g : g + 2],
            )
            context, memory = step(model.net, memory, one, model.beta, model.knots)
            assert torch.allclose(context, whole[2:, g + 1], atol=1e-12)
    for h, last in zip(memory, at_end, strict=True):
        assert torch.allclose(h[0], last[2], atol=1e-12) and not last[0].any()


@pytest.mark.parametrize("settings", [{}, {"classical": False}, {"knots": 1, "layers": 2}])
def test_time_rescaling_accepts_a_random_process(build, settings):
    model = build.neural(seed=3, **settings)
    marks = [np.array([1.0, 2.0, 9.0]), np.ones(1)]
    found = gathered(model, nothing(), np.array([6.0]), paths=100, seed=1, marks=marks)
    events = as_batch(found, 100, 6.0)
    assert set(events.count[events.mask & (events.kind == 0)].tolist()) == {1.0, 2.0, 9.0}
    for increments in compensator_increments(model, events):
        assert len(increments) > 2000 and ks(increments).pvalue > 0.01
        assert abs(np.corrcoef(increments[1:], increments[:-1])[0, 1]) < 4 / len(increments) ** 0.5
    # ... and the test has the power to reject another process
    set_(model, log_s=0.7, log_mu=0.7)
    for increments in compensator_increments(model, events):
        assert ks(increments).pvalue < 1e-6


def test_without_feedback_counts_are_poisson(build):
    model = set_(build.neural(), alpha=0.0, head__weight=0.0, head__bias=0.7, gain__weight=0.0)
    rate = (model.mu + model.scale * np.logaddexp(0, 0.7)).detach().numpy()
    found = gathered(model, nothing(), np.array([2.0]), paths=3000, seed=2)
    counts = np.zeros((3000, 2))
    np.add.at(counts, (found.path, found.kind), 1)
    assert (np.abs(counts.mean(0) - 2 * rate) < 3 * np.sqrt(2 * rate / 3000)).all()
    assert np.abs(counts.var(0) / (2 * rate) - 1).max() < 0.1
    assert abs(np.corrcoef(counts.T)[0, 1]) < 0.06


def test_a_renewal_process_obeys_the_renewal_equation(build):
    """A spline that no event changes: mean counts solve `m = F + f * m`, by quadrature."""
    model = set_(build.neural(kinds=("a",), seed=5), alpha=0.0, head__weight=0.0, gain__weight=0.0)
    set_(model, head__bias=[2.0, -3.0, 1.5, -1.0, 3.0])  # one kind: the values at the knots
    grid, h = np.linspace(0, 3, 3001, retstep=True)
    empty = nothing()
    hazard = model.intensity(empty, torch.from_numpy(grid)[None])[0, :, 0].detach().numpy()
    area = np.concatenate([[0], np.cumsum((hazard[1:] + hazard[:-1]) * h / 2)])
    F, f = 1 - np.exp(-area), hazard * np.exp(-area)
    mean = F.copy()
    for i in range(1, len(grid)):  # trapezoid, mean[0] = 0
        mean[i] = (F[i] + h * (f[1:i] @ mean[i - 1 : 0 : -1])) / (1 - h * f[0] / 2)
    found = gathered(model, empty, np.array([3.0]), paths=4000, seed=3)
    for at in (300, 1000, 3000):
        number = np.bincount(found.path[found.time <= grid[at]], minlength=4000)
        assert abs(number.mean() - mean[at]) < 3 * number.std() / np.sqrt(4000)
    first = np.full(4000, 3.0)
    np.minimum.at(first, found.path, found.time)
    early = (first <= grid[300]).mean()
    assert abs(early - F[300]) < 3 * np.sqrt(F[300] * (1 - F[300]) / 4000)


@pytest.mark.parametrize("context", [True, False])
def test_the_classical_limit_is_the_classical_simulator(build, context):
    offspring = np.array([[[0.3, 0.1], [0.0, 0.2]], [[0.2, 0.0], [0.3, 0.2]]])
    if context:  # a softplus part that is there and adds nothing
        model = set_(
            build.neural(decays=[0.05, 0.8]), log_s=-60.0, alpha=offspring, gain__weight=0.0
        )
        model.unit.fill_(1.0)
        set_(model, log_mu=np.log([4.0, 1.0]))
    else:
        model = build.classical([4.0, 1.0], offspring, [0.05, 0.8])
    events = build.events((25,), end=2.0)
    events.count.fill_(1.0)
    found = gathered(model, events, np.array([4.0]), paths=4000, seed=4)
    counts = np.zeros((4000, 2))
    np.add.at(counts, (found.path, found.kind), 1)
    jump = (model.alpha * model.beta[:, None, None]).detach().numpy()
    past = (events.time[0].numpy(), events.kind[0].numpy(), np.ones(25))
    known = simulate_counts(
        np.zeros(1), model.mu.detach().numpy()[None], jump, model.beta.numpy(),
        end=4.0, seed=5, n_paths=20_000, history=past, start=2.0,
    )  # fmt: skip
    error = np.sqrt(counts.var(0) / 4000 + known.var(0) / 20_000)
    assert (np.abs(counts.mean(0) - known.mean(0)) < 3 * error).all()
    assert np.abs(counts.std(0) / known.std(0) - 1).max() < 0.06


def test_right_after_a_history_the_rate_is_the_intensity_there(build):
    model, events = build.neural(layers=2), build.events((12, 0, 30))
    right = model(events).right.detach().numpy()
    span, n = 0.02 / right.max(), 20_000
    until = events.end.numpy() + span
    found = gathered(model, events, until, paths=n, seed=6)
    assert (found.time > events.end.numpy()[found.row]).all() and (found.time <= 3 + span).all()
    counts = np.zeros((3, 2))
    np.add.at(counts, (found.row, found.kind), 1)
    expected = n * right * span
    assert (np.abs(counts - expected) < 3.5 * np.sqrt(expected) + 0.02 * expected).all()


@pytest.mark.parametrize("context", [True, False])
def test_a_path_does_not_depend_on_its_company(build, context, monkeypatch):
    model, events = build.neural(context=context), build.events((12, 0, 5))
    until = np.array([4.0, 4.5, 5.0])
    many = gathered(model, events, until, paths=8, seed=7)
    few = gathered(model, events, until, paths=3, seed=7)
    monkeypatch.setattr(thinning, "LANES", 8)
    alone = gathered(model, events, until, paths=8, seed=7)
    keep = many.path < 3
    for name in ("row", "path", "kind", "count"):
        assert np.array_equal(getattr(many, name), getattr(alone, name))
        assert np.array_equal(getattr(many, name)[keep], getattr(few, name))
    assert np.allclose(many.time, alone.time, rtol=1e-10)
    assert np.allclose(many.time[keep], few.time, rtol=1e-10)
    other = gathered(model, events, until, paths=8, seed=8)
    assert not np.array_equal(many.time[:20], other.time[:20])


@pytest.mark.parametrize("context", [True, False])
def test_a_path_that_explodes_is_no_path(build, context):
    model = set_(build.neural(context=context), alpha=5.0)
    with pytest.raises(InputError, match="reached 500 events"):
        gathered(model, nothing(), np.array([50.0]), paths=2, seed=0, max_events=500)
