"""Every breach that is planted is counted, once, under its name."""

import numpy as np
import polars as pl
import pytest

from m3tr.memory.bank import Bank
from m3tr.memory.contract import violations
from m3tr.memory.keys import Keys
from m3tr.memory.neighbours import Neighbours

LATE, ITSELF, ALIKE, GROUP, HELD = (
    "outcome not known by the clock",
    "the query itself",
    "a near-duplicate",
    "a video of its own group",
    "held-out videos in the bank",
)


@pytest.fixture
def bank(make):
    """Four items, known on the days 0 to 3; the second and the third are one medium."""
    items = pl.DataFrame(
        {
            "video_id": ["b0", "b1", "b2", "b3"],
            "known_at": make.times(np.arange(4)),
            "title": ["zero", "one", "two", "three"],
            "media": ["m0", "m1", "m1", "m3"],
        }
    )
    return Bank.build(items, Keys(np.eye(4, dtype="f4")), {})


@pytest.fixture
def queries(make):
    return pl.DataFrame(
        {
            "video_id": ["q0", "q1"],
            "observed_at": make.times(np.array([2.0, 9.0])),
            "title": ["ten", None],
            "media": pl.Series([None, None], dtype=pl.String),
        }
    )


def shown(*rows: list[int]) -> Neighbours:
    index = np.array(rows)
    zero = np.zeros(index.shape)
    return Neighbours(index, zero, zero, zero)


def test_nothing_to_complain_of(bank, queries):
    # known exactly at the clock is known
    found = violations(bank, queries, shown([0, 2], [3, -1]), {"q0", "q1"}, True)
    assert found == {LATE: 0, ITSELF: 0, ALIKE: 0, GROUP: 0, HELD: 0}


def test_each_breach_is_counted(bank, queries):
    assert violations(bank, queries, shown([3, 0], [3, 2]), set(), True)[LATE] == 1
    assert violations(bank, queries, shown([3, 0], [3, 2]), set(), False)[LATE] == 0
    own = queries.with_columns(video_id=pl.Series(["b0", "b3"]))
    found = violations(bank, own, shown([0, 1], [2, 3]), set(), True)
    assert found == {LATE: 0, ITSELF: 2, ALIKE: 0, GROUP: 0, HELD: 0}
    # the title of one item is that of the medium's other item too; a medium counts as well
    for alike in (
        queries.with_columns(title=pl.Series(["One!", "nothing"])),
        queries.with_columns(media=pl.Series(["m1", "m7"])),
    ):
        found = violations(bank, alike, shown([0, 1], [2, 3]), set(), True)
        assert found == {LATE: 0, ITSELF: 0, ALIKE: 1, GROUP: 0, HELD: 0}
        assert violations(bank, alike, shown([2, 1], [1, 3]), set(), True)[ALIKE] == 2
    found = violations(bank, queries, shown([0, 1], [2, 3]), {"b1", "b2", "x"}, True)
    assert found == {LATE: 0, ITSELF: 0, ALIKE: 0, GROUP: 0, HELD: 2}


def test_a_video_of_its_own_group_counts_where_groups_stay_whole(make):
    items = make.items(np.random.default_rng(0), 3).with_columns(series=pl.Series([1, 2, None]))
    bank = Bank.build(items, Keys(np.eye(3, dtype="f4")), {})
    series = bank.items["series"]
    asked = pl.DataFrame(
        {"video_id": ["q0", "q1"], "observed_at": make.times(np.array([9.0, 9.0]))}
    )
    own = asked.with_columns(series=pl.Series([2.0, None]))
    found = shown([0, 1, 2], [0, 1, 2])
    counted = violations(bank, own, found, set(), False, "series")
    assert counted[GROUP] == 1 == series.to_list().count(2)
    assert violations(bank, own, found, set(), False)[GROUP] == 0
    assert violations(bank, asked, found, set(), False, "series")[GROUP] == 0
    assert violations(bank, own, found, set(), False, "language")[GROUP] == 0


def test_absent_neighbours_breach_nothing(bank, queries):
    # -1 must not be read as the last item
    own = queries.with_columns(video_id=pl.Series(["b0", "b3"]), title=pl.Series(["zero", "three"]))
    assert not any(violations(bank, own, shown([-1, -1], [-1, -1]), set(), True).values())


def test_a_search_breaches_nothing(make):
    rng = np.random.default_rng(0)
    bank = make.bank(rng, 50)
    queries = pl.DataFrame(
        {
            "video_id": bank.items["video_id"],
            "observed_at": make.times(rng.integers(0, 7, 50)),
            "title": bank.items["title"],
        }
    )
    clock = queries["observed_at"].to_numpy()
    kept = bank.search(bank.keys, 5, 0.5, known_by=clock, exclude=bank.alike(queries))
    assert not any(violations(bank, queries, kept, set(), True).values())
    free = bank.search(bank.keys, 5, 0.5)
    broken = violations(bank, queries, free, set(), True)
    assert min(broken[name] for name in (LATE, ITSELF, ALIKE)) > 0


def test_an_empty_bank_breaches_nothing(make, queries):
    empty = make.bank(np.random.default_rng(0), 0)
    found = empty.search(make.keys(np.random.default_rng(1), 2), 3, 0.5)
    assert not any(violations(empty, queries, found, {"q0"}, True).values())
