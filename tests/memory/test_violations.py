"""Every breach that is planted is counted, once, under its name."""

import numpy as np
import polars as pl
import pytest

from m3tr.memory.bank import Bank, Keys, Neighbours
from m3tr.memory.contract import violations

LATE, ITSELF, ALIKE, HELD = (
    "outcome not known by the clock",
    "the query itself",
    "a near-duplicate",
    "held-out videos in the bank",
)


@pytest.fixture
def bank(make):
    """Four items, known on the days 0 to 3, each its own group."""
    items = pl.DataFrame(
        {
            "video_id": ["b0", "b1", "b2", "b3"],
            "known_at": make.times(np.arange(4)),
            "group": [0, 1, 2, 3],
        }
    )
    return Bank.build(items, Keys(np.eye(4, dtype="f4"), np.eye(4, dtype="f4")), {})


@pytest.fixture
def queries(make):
    return pl.DataFrame(
        {
            "video_id": ["q0", "q1"],
            "observed_at": make.times(np.array([2.0, 9.0])),
            "group": [10, 11],
        }
    )


def shown(*rows: list[int]) -> Neighbours:
    index = np.array(rows)
    zero = np.zeros(index.shape)
    return Neighbours(index, zero, zero, zero)


def test_nothing_to_complain_of(bank, queries):
    # known exactly at the clock is known
    found = violations(bank, queries, shown([0, 2], [3, -1]), {"q0", "q1"}, True)
    assert found == {LATE: 0, ITSELF: 0, ALIKE: 0, HELD: 0}


def test_each_breach_is_counted(bank, queries):
    assert violations(bank, queries, shown([3, 0], [3, 2]), set(), True)[LATE] == 1
    assert violations(bank, queries, shown([3, 0], [3, 2]), set(), False)[LATE] == 0
    own = queries.with_columns(video_id=pl.Series(["b0", "b3"]))
    found = violations(bank, own, shown([0, 1], [2, 3]), set(), True)
    assert found == {LATE: 0, ITSELF: 2, ALIKE: 0, HELD: 0}
    alike = queries.with_columns(group=pl.Series([1, 1]))
    found = violations(bank, alike, shown([0, 1], [2, 3]), set(), True)
    assert found == {LATE: 0, ITSELF: 0, ALIKE: 1, HELD: 0}
    found = violations(bank, queries, shown([0, 1], [2, 3]), {"b1", "b2", "x"}, True)
    assert found == {LATE: 0, ITSELF: 0, ALIKE: 0, HELD: 2}


def test_absent_neighbours_breach_nothing(bank, queries):
    # -1 must not be read as the last item
    own = queries.with_columns(video_id=pl.Series(["b0", "b3"]), group=pl.Series([0, 3]))
    assert not any(violations(bank, own, shown([-1, -1], [-1, -1]), set(), True).values())


def test_a_search_breaches_nothing(make):
    rng = np.random.default_rng(0)
    bank = make.bank(rng, 50)
    queries = pl.DataFrame(
        {
            "video_id": bank.items["video_id"],
            "observed_at": make.times(rng.integers(0, 7, 50)),
            "group": bank.items["group"],
        }
    )
    clock, group = queries["observed_at"].to_numpy(), queries["group"].to_numpy()
    kept = bank.search(bank.keys, 5, 0.5, known_by=clock, exclude=group)
    assert not any(violations(bank, queries, kept, set(), True).values())
    free = bank.search(bank.keys, 5, 0.5)
    broken = violations(bank, queries, free, set(), True)
    assert min(broken[name] for name in (LATE, ITSELF, ALIKE)) > 0


def test_an_empty_bank_breaches_nothing(make, queries):
    empty = make.bank(np.random.default_rng(0), 0)
    found = empty.search(make.keys(np.random.default_rng(1), 2), 3, 0.5)
    assert not any(violations(empty, queries, found, {"q0"}, True).values())
