"""The intensity at an event never sees that event, one simultaneous with it, or a later one."""

import pytest
import torch

from m3tr.hawkes.events import EventBatch
from m3tr.hawkes.likelihood import log_likelihood


def changed(events: EventBatch, at: int, **values: float) -> EventBatch:
    """A copy of the batch in which the event `at` of every sequence has other values."""
    parts = {name: getattr(events, name).clone() for name in ("time", "kind", "count", "mask")}
    for name, value in values.items():
        parts[name][:, at] = value
    return EventBatch(**parts, end=events.end)


@pytest.mark.parametrize("flags", [{}, {"context": False}, {"classical": False}, {"layers": 2}])
@pytest.mark.parametrize("at", [0, 5, 19])
def test_no_term_before_an_event_depends_on_it(build, flags, at):
    model, events = build.neural(**flags), build.events((20, 20))
    before = log_likelihood(model, events)
    count, kind = changed(events, at, count=7000.0), changed(events, at, kind=1)
    later = changed(events, at, time=events.time[:, at] + 1e-9)
    for other in (count, kind, later):
        after = log_likelihood(model, other)
        assert torch.equal(before.event[:, :at], after.event[:, :at])  # bitwise
    # its own term does not see its count either, and what follows does
    after = log_likelihood(model, count)
    assert torch.equal(before.event[:, : at + 1], after.event[:, : at + 1])
    assert not torch.equal(before.total, after.total)


@pytest.mark.parametrize("flags", [{}, {"context": False}, {"classical": False}])
def test_simultaneous_events_do_not_see_each_other(build, flags):
    model, events = build.neural(**flags), build.events((8,))
    pair = changed(events, 4, time=events.time[:, 3])
    rate = model.intensity(pair, pair.time[:, 3:4])[0, 0].log()
    found = log_likelihood(model, pair).event[0, 3:5]
    assert torch.allclose(found, rate[pair.kind[0, 3:5]], atol=1e-12)
    alone = log_likelihood(model, changed(pair, 4, mask=False)).event[0, 3]
    assert torch.allclose(found[0], alone, atol=1e-12)
    # ... but both are there for the next one
    after = log_likelihood(model, changed(pair, 4, count=1e5)).event
    assert torch.equal(after[0, :5], log_likelihood(model, pair).event[0, :5])
    assert not torch.equal(after[0, 5:], log_likelihood(model, pair).event[0, 5:])


def test_order_of_simultaneous_events_is_irrelevant(build):
    model, events = build.neural(layers=2), build.events((0, 9, 40), tied=True)
    order = torch.arange(events.time.shape[1])
    time = events.time[2]
    for value in time.unique():  # reverse every group of the longest sequence
        same = torch.nonzero(time == value).flatten()
        order[same] = same.flip(0)
    parts = {name: getattr(events, name).clone() for name in ("time", "kind", "count", "mask")}
    for part in parts.values():
        part[2] = part[2][order]
    shuffled = EventBatch(**parts, end=events.end)
    one, two = log_likelihood(model, events), log_likelihood(model, shuffled)
    assert not torch.equal(events.kind, shuffled.kind)
    assert torch.allclose(one.total, two.total, rtol=1e-12)
    assert torch.allclose(one.event[2][order], two.event[2], atol=1e-12)


def test_an_event_at_the_end_is_in_the_right_limit_only(build):
    model, events = build.neural(), build.events((6,))
    last = changed(events, 5, time=events.end)
    right = model(last).right[0]
    left = model.intensity(last, last.end[:, None])[0, 0]
    assert not torch.allclose(left, right)
    just_after = model.intensity(last, last.end[:, None] + 1e-12)[0, 0]
    assert torch.allclose(right, just_after, rtol=1e-8)
