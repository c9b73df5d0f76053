"""Flat histories: what is in them, in which order, and what is left out."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.hawkes.histories import Histories
from tests.hawkes.trajectories import random_histories

BORN = datetime(2026, 3, 1, 17, 45, 36, tzinfo=UTC)


def rows(*events: tuple[str, float, str, int]) -> pl.DataFrame:
    names = ("video_id", "age_days", "kind", "count")
    return pl.DataFrame(dict(zip(names, zip(*events, strict=True), strict=True)))


@pytest.fixture
def examples() -> pl.DataFrame:
    """`b` before `a`, `nobody` without feedback; of 17:45:36, 23:00 and 00:00."""
    born = [BORN, BORN.replace(hour=23, minute=0, second=0), BORN.replace(hour=0, minute=0)]
    born[2] = born[2].replace(second=0)
    return pl.DataFrame(
        {"video_id": ["b", "nobody", "a"], "published_at": born, "age_days": [1.0, 2.0, 0.5]}
    )


EVENTS = [
    ("a", 0.4, "view", 2),
    ("b", 0.7, "like", 1),
    ("b", 0.2, "view", 3),
    ("b", 0.7, "view", 4),
    ("b", 0.7, "view", 1),
    ("a", 0.1, "like", 5),
]
LEFT_OUT = [
    ("a", 0.5001, "view", 9),  # after its own end, though not after that of `b`
    ("b", 1.0 + 1e-6, "view", 9),
    ("b", 0.0, "view", 9),  # at publication: not in (0, end]
    ("b", -0.1, "view", 9),
    ("b", 0.3, "share", 9),
    ("stranger", 0.3, "view", 9),
]


def same(one: Histories, two: Histories) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(one))


def test_events_are_those_of_each_video_in_order_of_time(examples):
    h = Histories.of(rows(*EVENTS), examples, ["view", "like"])
    assert h.offsets.tolist() == [0, 4, 4, 6] and len(h) == 3
    assert h.video.tolist() == [0, 0, 0, 0, 2, 2]
    assert h.time.tolist() == [0.2, 0.7, 0.7, 0.7, 0.1, 0.4]
    assert h.kind.tolist() == [0, 0, 0, 1, 1, 0]
    assert h.count.tolist() == [3, 1, 4, 1, 5, 2]
    assert h.end.tolist() == [1.0, 2.0, 0.5]
    assert h.hour.tolist() == pytest.approx([17.76, 23, 0])


def test_later_rows_other_kinds_and_other_videos_are_left_out(examples):
    kinds = ["view", "like"]
    expected = Histories.of(rows(*EVENTS), examples, kinds)
    assert same(Histories.of(rows(*LEFT_OUT, *EVENTS), examples, kinds), expected)


def test_an_event_at_the_end_is_seen_and_none_that_is_later_by_anything(examples):
    after = float(np.nextafter(0.5, 1))
    h = Histories.of(rows(("a", 0.5, "view", 1), ("a", after, "view", 2)), examples, ["view"])
    assert h.offsets.tolist() == [0, 0, 0, 1] and h.count.tolist() == [1]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_rows_is_irrelevant(examples, seed):
    rng = np.random.default_rng(0)
    many = [
        ("ab"[rng.integers(2)], float(rng.choice([0.1, 0.2, 0.3])), "view", int(count))
        for count in rng.integers(1, 50, 200)
    ]
    table = rows(*EVENTS, *many)
    shuffled = table.sample(fraction=1, shuffle=True, seed=seed)
    kinds = ["view", "like"]
    assert same(Histories.of(shuffled, examples, kinds), Histories.of(table, examples, kinds))


def test_no_feedback_at_all_is_a_history_without_events(examples):
    h = Histories.of(rows(*EVENTS).clear(), examples, ["view"])
    assert h.offsets.tolist() == [0, 0, 0, 0] and len(h.time) == 0 and len(h) == 3


def test_selected_videos_keep_their_events():
    h = random_histories(9, seed=4)
    chosen = np.array([0, 3, 4, 8])
    some = h.select(chosen)
    for place, i in enumerate(chosen):
        mine, its = (slice(*each.offsets[j : j + 2]) for each, j in ((some, place), (h, i)))
        for name in ("time", "kind", "count"):
            assert np.array_equal(getattr(some, name)[mine], getattr(h, name)[its])
        assert some.end[place] == h.end[i] and some.hour[place] == h.hour[i]
    assert some.offsets[-1] == len(some.time)


def test_counts_are_sums_between_ages():
    h = random_histories(6, seed=5)
    edges = np.column_stack([np.zeros(6), h.end / 3, h.end / 2, h.end])
    found = h.counts(edges)
    assert found.shape == (6, 3, 3)
    for i in range(6):
        for b in range(3):
            for k in range(3):
                inside = (h.time > edges[i, b]) & (h.time <= edges[i, b + 1])
                mine = (h.video == i) & (h.kind == k) & inside
                assert found[i, b, k] == h.count[mine].sum()


def test_the_hour_is_that_of_publication_not_of_the_clock(examples):
    later = examples.with_columns(published_at=pl.col("published_at") + timedelta(hours=1.5))
    h = Histories.of(rows(*EVENTS), later, ["view"])
    assert h.hour.tolist() == pytest.approx([19.26, 0.5, 1.5])
