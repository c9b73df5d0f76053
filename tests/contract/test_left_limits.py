"""Clause 7: the intensity at an event never sees that event (more in tests/hawkes)."""

import polars as pl
import pytest
import torch

from m3tr.data.windows import event_rows
from m3tr.hawkes.events import EventBatch, batch
from m3tr.hawkes.likelihood import log_likelihood


@pytest.fixture
def events(tiny_forecaster, tiny_queries):
    """The longest training history of the tiny world, as the process reads it."""
    queries = tiny_queries["train"]
    longest = queries.observed.group_by("video_id").len().sort("len", "video_id")["video_id"][-1]
    end = queries.examples.filter(pl.col("video_id") == longest)["age_days"].to_list()
    return batch(event_rows(queries.observed), [longest], end, tiny_forecaster.forecaster.mhp.kinds)


def with_event(events: EventBatch, at: int, name: str, value: float) -> EventBatch:
    parts = {n: getattr(events, n).clone() for n in ("time", "kind", "count", "mask")}
    parts[name][0, at] = value
    return EventBatch(**parts, end=events.end)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_event_changes_no_term_up_to_its_own(tiny_forecaster, events, share):
    model = tiny_forecaster.forecaster.mhp
    at = int(share * (events.time.shape[1] - 1))
    before = log_likelihood(model, events)
    counted = log_likelihood(model, with_event(events, at, "count", 1e4))
    assert torch.equal(counted.event[0, : at + 1], before.event[0, : at + 1])
    assert not torch.equal(counted.total, before.total)
    # another kind: its own term is that of the other intensity at the same moment, unseen by itself
    other = (int(events.kind[0, at]) + 1) % len(model.kinds)
    renamed = log_likelihood(model, with_event(events, at, "kind", other))
    assert torch.equal(renamed.event[0, :at], before.event[0, :at])
    rate = model.intensity(events, events.time[:, at : at + 1])[0, 0, other].log()
    assert torch.allclose(renamed.event[0, at], rate, atol=1e-10)


def test_a_dropped_future_changes_no_term_of_the_past(tiny_forecaster, events):
    model, half = tiny_forecaster.forecaster.mhp, events.time.shape[1] // 2
    parts = {n: getattr(events, n)[:, :half] for n in ("time", "kind", "count", "mask")}
    past = log_likelihood(model, EventBatch(**parts, end=events.end)).event
    assert torch.allclose(past, log_likelihood(model, events).event[:, :half], atol=1e-12)
