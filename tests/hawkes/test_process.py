"""Padding, units, empty sequences, saving: what must not change a result."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from m3tr.errors import InputError
from m3tr.hawkes.events import EventBatch, batch, ties
from m3tr.hawkes.forecast import expected_counts
from m3tr.hawkes.likelihood import log_likelihood, mean_log_likelihood
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.representation import represent
from m3tr.hawkes.residuals import compensator_increments
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.training import fit

SMALL = HawkesSettings(decays=[0.05, 1.0], width=8, state=4, epochs=2, batch_size=8)


def scaled(events: EventBatch, factor: float) -> EventBatch:
    """The same events in another unit of time."""
    end = events.end * factor
    return EventBatch(events.time * factor, events.kind, events.count, events.mask, end)


def test_a_batch_gives_what_its_rows_give_alone(build):
    model, events = build.neural(layers=2), build.events((0, 3, 31), tied=True)
    together = log_likelihood(model, events)
    ahead = expected_counts(model, events, [0.5, 2.0])
    for i in range(3):
        alone = events.select([i])
        assert alone.time.shape[1] == events.lengths[i]
        assert torch.allclose(log_likelihood(model, alone).total[0], together.total[i], rtol=1e-12)
        assert torch.allclose(expected_counts(model, alone, [0.5, 2.0])[0], ahead[i], rtol=1e-10)


def test_results_do_not_depend_on_the_unit_of_time(build):
    events = build.events(tuple(range(5, 30)))
    hours = scaled(events, 24.0)
    in_hours = SMALL.model_copy(update={"decays": [24 * d for d in SMALL.decays]})
    one, two = fit(events, ["a", "b"], SMALL), fit(hours, ["a", "b"], in_hours)
    assert torch.allclose(one.mu, 24 * two.mu, rtol=1e-4)
    assert torch.allclose(one.alpha, two.alpha, atol=1e-4)
    first, second = log_likelihood(one, events).total, log_likelihood(two, hours).total
    n = events.lengths.double()
    assert torch.allclose(first, second + n * np.log(24.0), atol=2e-3)
    ahead, same = expected_counts(one, events, [2.0]), expected_counts(two, hours, [48.0])
    assert torch.allclose(ahead, same, rtol=1e-3)


def test_fit_is_a_function_of_data_and_seed(build):
    events = build.events(tuple(range(3, 30)))
    one, two = fit(events, ["a", "b"], SMALL), fit(events, ["a", "b"], SMALL)
    other = fit(events, ["a", "b"], SMALL.model_copy(update={"seed": 1}))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert not torch.equal(one.head.weight, other.head.weight)


def test_fit_leaves_the_global_random_state_alone(build):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(build.events((9, 9, 9)), ["a", "b"], SMALL)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("context", [True, False])
def test_save_and_load(build, tmp_path, context):
    events = build.events((5, 9, 14))
    model = fit(events, ["a", "b"], SMALL.model_copy(update={"context": context}))
    model.save(tmp_path / "mhp")
    again = MambaHawkes.load(tmp_path / "mhp")
    assert again.kinds == ["a", "b"] and again.settings == model.settings
    assert torch.equal(log_likelihood(again, events).total, log_likelihood(model, events).total)
    assert torch.equal(expected_counts(again, events, [3.0]), expected_counts(model, events, [3.0]))


def test_loading_nothing_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="m3tr trajectories"):
        MambaHawkes.load(tmp_path)


def test_sequences_without_events(build):
    model, events = build.neural(), build.events((0, 0))
    found = log_likelihood(model, events)
    rate = model.intensity(events, torch.tensor([[1e-9], [1e-9]]).double())[:, 0]
    assert events.time.shape == (2, 0)
    assert torch.allclose(found.total, -found.compensator.sum(1))
    assert (rate > 0).all() and torch.isfinite(found.total).all()
    assert all(len(increments) == 0 for increments in compensator_increments(model, events))


def test_events_at_publication_condition_and_are_not_scored(build):
    model, events = build.neural(), build.events((6,))
    events.time[0, 0] = 0.0
    found = log_likelihood(model, events)
    assert found.event[0, 0] == 0
    events.count[0, 0] = 1000.0
    assert not torch.equal(found.event[0, 1:], log_likelihood(model, events).event[0, 1:])


def test_kinds_must_be_distinct():
    with pytest.raises(InputError, match="distinct"):
        MambaHawkes(["a", "a"], SMALL)


def test_windows_without_feedback_give_the_process_in_which_nothing_happens() -> None:
    frame = pl.DataFrame(
        schema={"sequence": pl.String, "time": pl.Float64, "kind": pl.String, "count": pl.Int64}
    )
    events = batch(frame, ["a", "b"], [0.0, 0.0], ["view", "like"])
    model = fit(events, ["view", "like"], HawkesSettings())
    assert float(model.mu.detach().max()) < 1e-6
    X, _ = represent(model, events, [1.0, 7.0])
    assert np.isfinite(X).all() and np.allclose(X[0], X[1])


def test_every_knot_is_trained(build):
    events = build.events(tuple(range(5, 30)))
    model = MambaHawkes(["a", "b"], SMALL.model_copy(update={"knots": 3}))
    model.measure(events)
    longest = ties(events, 2, "log").step.max()
    assert model.knots[-1] == longest and (model.knots.diff() > 0).all()
    (slope,) = torch.autograd.grad(log_likelihood(model, events).total.sum(), model.head.bias)
    assert (slope != 0).all()


def test_a_split_without_events_is_none():
    """One sequence holds every event: it is used for training and to choose the epoch."""
    frame = pl.DataFrame({"sequence": "0", "time": np.linspace(0.1, 0.9, 30), "kind": "a"})
    events = batch(frame, [str(i) for i in range(10)], np.ones(10), ["a"])
    for seed in range(6):
        model = fit(events, ["a"], SMALL.model_copy(update={"seed": seed, "epochs": 1}))
        assert mean_log_likelihood(model, events) > 0.0


def test_files_of_another_version_are_one_sentence(build, tmp_path):
    model = fit(build.events((5, 9)), ["a", "b"], SMALL.model_copy(update={"context": False}))
    model.save(tmp_path)
    about = json.loads((tmp_path / "hawkes.json").read_text())
    about["settings"]["decays_days"] = about["settings"].pop("decays")
    (tmp_path / "hawkes.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="another version"):
        MambaHawkes.load(tmp_path)
