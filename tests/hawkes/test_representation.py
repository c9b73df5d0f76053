"""The temporal representation."""

import numpy as np
import pytest
import torch

from m3tr.hawkes.decline import decline
from m3tr.hawkes.events import EventBatch
from m3tr.hawkes.forecast import expected_counts
from m3tr.hawkes.representation import represent


@pytest.mark.parametrize("context", [True, False])
def test_columns_say_what_they_hold(build, context):
    model, events = build.neural(context=context), build.events((0, 3, 25))
    X, names = represent(model, events, [5.0, 9.0])
    width = model.settings.width if context else 0
    falling, more = decline(events, ["a", "b"], np.array([9.0] * 3))
    assert X.shape == (3, len(names)) == (3, width + 2 + 2 + 6 + 4 + len(more))
    assert np.allclose(X[:, -len(more) :], falling) and names[-len(more) :] == more
    assert X.dtype == np.float32 and len(set(names)) == len(names)
    column = {name: X[:, i] for i, name in enumerate(names)}
    for k, kind in enumerate("ab"):
        own = events.mask & (events.kind == k)
        assert np.allclose(column[f"log_count[{kind}]"], np.log2(1 + (events.count * own).sum(1)))
        late = own & (events.time > 1.5)
        counted = np.log2(1 + (events.count * late).sum(1))
        assert np.allclose(column[f"log_count_last_2th[{kind}]"], counted)
        right = model(events).right[:, k].detach()
        assert np.allclose(column[f"log_intensity[{kind}]"], np.log2(right), atol=1e-4)
        ahead = expected_counts(model, events, [2.0, 6.0])[:, 1, k].detach()
        assert np.allclose(column[f"log_increment_1[{kind}]"], np.log2(1 + ahead), rtol=1e-5)


def test_finite_without_events_and_at_age_zero(build):
    model, events = build.neural(), build.events((0, 4))
    events.time.zero_()
    at_birth = EventBatch(
        events.time, events.kind, events.count, events.mask, torch.zeros(2, dtype=torch.float64)
    )
    X, _ = represent(model, at_birth, [1.0, 7.0])
    assert np.isfinite(X).all() and not np.array_equal(X[0], X[1])


def test_rows_do_not_depend_on_their_neighbours(build):
    model, events = build.neural(), build.events(tuple(range(20)))
    horizons = np.linspace(1, 8, 20)[:, None]  # the first ages lie before the end of the window
    X, names = represent(model, events, horizons, batch_size=7)
    assert (X[:5, names.index("log_increment_0[a]")] == 0).all()
    alone, _ = represent(model, events.select([13]), horizons[13:14])
    assert np.allclose(X[13], alone[0], rtol=1e-5, atol=1e-6)
