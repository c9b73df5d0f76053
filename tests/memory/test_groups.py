"""A creator's earlier videos, against a loop over all items."""

from itertools import product

import numpy as np
import polars as pl
import pytest

from m3tr.memory.bank import Bank
from m3tr.memory.groups import Groups, names_of

CREATORS = np.array(["ann", "bob", "", "Ann", "7", None], object)


def tables(seed, make, n=40, q=25):
    """Random items and videos; creators and times repeat, some creators are not named."""
    rng = np.random.default_rng(seed)
    items = make.items(rng, n).with_columns(
        creator_id=pl.Series(rng.choice(CREATORS, n).tolist(), dtype=pl.String)
    )
    more = [*CREATORS, "a stranger"]
    own = rng.choice(np.array(more, object), q).tolist()
    videos = pl.DataFrame(
        {"video_id": [f"v{i}" for i in range(q)], "creator_id": own},
        schema={"video_id": pl.String, "creator_id": pl.String},
    )
    known_by = make.times(rng.integers(-1, 7, q))
    exclude = [np.flatnonzero(rng.random(n) < 0.2) for _ in range(q)]
    return items, videos, known_by, exclude


def brute_force(items, videos, k, known_by, exclude):
    """By query the positions, in order; among equals the earlier position."""
    answer = []
    rows = items.to_dicts()
    for q, video in enumerate(videos.to_dicts()):
        allowed = [
            (row["known_at"], i)
            for i, row in enumerate(rows)
            if video["creator_id"] is not None
            and row["creator_id"] == video["creator_id"]
            and i not in exclude[q].tolist()
            and (known_by is None or row["known_at"] <= known_by[q].astype(object))
        ]
        allowed.sort(key=lambda pair: pair[1])
        allowed.sort(key=lambda pair: pair[0], reverse=True)
        answer.append([i for _, i in allowed][:k])
    return answer


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("causal", [True, False])
def test_against_a_loop(make, seed, causal):
    items, videos, known_by, exclude = tables(seed, make)
    known_by = known_by if causal else None
    for k in (1, 3, 50):
        got = Groups(items).latest(videos, k, known_by, exclude)
        expected = brute_force(items, videos, k, known_by, exclude)
        assert got.index.shape == (videos.height, k)
        for row, own in zip(got.index.tolist(), expected, strict=True):
            assert row == own + [-1] * (k - len(own))
        assert (got.score == 0).all() and (got.content == 0).all()
    assert any(expected)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_shown_what_was_not_known(make, seed):
    items, videos, known_by, exclude = tables(seed, make, n=80)
    got = Groups(items).latest(videos, 5, known_by, exclude)
    at = items["known_at"].to_numpy()
    q, place = np.nonzero(got.found)
    assert len(q)
    assert (at[got.index[q, place]] <= known_by[q]).all()
    for row in range(videos.height):
        mine = got.index[row][got.found[row]]
        assert not set(mine) & set(exclude[row]) and len(set(mine)) == len(mine)
        assert (np.diff(at[mine].astype(int)) <= 0).all()
        assert set(items["creator_id"][mine.tolist()]) <= {videos["creator_id"][row]}
    # to the microsecond
    first = Groups(items).latest(videos, 1, None, exclude)
    some = np.flatnonzero(first.found[:, 0])
    moment = at[first.index[:, 0]]
    for shift, there in ((0, True), (1, False)):
        again = Groups(items).latest(videos, 1, moment - np.timedelta64(shift, "us"), exclude)
        assert (again.index[some, 0] == first.index[some, 0]).all() == there
    assert not (again.index[some, 0] == first.index[some, 0]).any()


def test_positions_ascend(make):
    items, videos, *_ = tables(1, make)
    own = Groups(items).of(videos)
    creators = items["creator_id"].to_list()
    for creator, positions in zip(videos["creator_id"], own, strict=True):
        expected = [i for i, c in enumerate(creators) if c is not None and c == creator]
        assert positions.tolist() == expected and positions.dtype == np.int64


@pytest.mark.parametrize("without", ["items", "videos", "both"])
def test_without_creators_there_is_nobody(make, without):
    items, videos, known_by, exclude = tables(2, make)
    items = items if without == "videos" else items.drop("creator_id")
    videos = videos if without == "items" else videos.drop("creator_id")
    assert [len(own) for own in Groups(items).of(videos)] == [0] * videos.height
    assert not Groups(items).latest(videos, 4, known_by, exclude).found.any()


def test_creators_that_are_all_unknown(make):
    items, videos, known_by, exclude = tables(3, make)
    nobody = pl.lit(None, pl.String)
    for a, b in ((nobody, nobody), (nobody, pl.col("creator_id")), (pl.col("creator_id"), nobody)):
        some = items.with_columns(creator_id=a), videos.with_columns(creator_id=b)
        assert not Groups(some[0]).latest(some[1], 4, None, exclude).found.any()
    untyped = videos.with_columns(creator_id=pl.Series([None] * videos.height))
    assert not Groups(items).latest(untyped, 4, None, exclude).found.any()


def test_creators_that_are_numbers(make):
    items, videos, known_by, exclude = tables(4, make)
    rng = np.random.default_rng(4)
    own = pl.Series(rng.integers(-2, 3, items.height)), pl.Series(rng.integers(-2, 4, 25))
    texts = [
        t.with_columns(creator_id=c.cast(pl.String))
        for t, c in zip((items, videos), own, strict=True)
    ]
    numbers = [t.with_columns(creator_id=c) for t, c in zip((items, videos), own, strict=True)]
    # what a request holds, and a column with gaps in many a table
    floats = [t.with_columns(pl.col("creator_id").cast(pl.Float64)) for t in numbers]
    expected = brute_force(*texts, 3, known_by, exclude)
    for a, b in product((texts[0], numbers[0], floats[0]), (texts[1], numbers[1], floats[1])):
        got = Groups(a).latest(b, 3, known_by, exclude)
        assert [[i for i in row if i >= 0] for row in got.index.tolist()] == expected
    assert any(expected)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([5.0, -0.0, 1.5, None], ["5", "0", "1.5", None]),
        ([float("nan"), float("inf"), 1e300], ["NaN", "inf", "1e+300"]),
        ([True, None], ["true", None]),
        ([None, None], [None, None]),
        (["5", "5.0"], ["5", "5.0"]),
    ],
)
def test_names_of_groups(values, names):
    assert names_of(pl.Series("series", values)).to_list() == names


@pytest.mark.parametrize("seed", range(5))
def test_what_a_group_may_not_be_shown(make, seed):
    """In a bank of two segments; a large group is one array for all of its videos."""
    rng = np.random.default_rng(seed)
    series = pl.Series("series", [None, 1, 2, 3], pl.Int64)
    series = series.gather(pl.Series(rng.integers(0, 4, 60)))
    items = make.items(rng, 60).with_columns(series)
    items = items.with_columns(
        title=pl.when(pl.int_range(60) < 50).then("video_id").otherwise("title")
    )
    keys, whole = make.keys(rng, 60), np.arange(60)
    bank = Bank.build(items[:40], keys.select(whole[:40]), {})
    later = items[40:].with_columns(pl.col("series").cast(pl.Float64))
    bank = bank.append(later, keys.select(whole[40:]), {})
    asked = items.sample(fraction=1, shuffle=True, seed=seed)
    withheld = bank.withheld(asked, "series")
    names = bank.items["series"].to_list()
    for video, alike, out in zip(asked.to_dicts(), bank.alike(asked), withheld, strict=True):
        own = [i for i, s in enumerate(names) if s is not None and s == video["series"]]
        assert out.tolist() == sorted({*alike.tolist(), *own})
    assert len({id(out) for out in withheld}) < len(withheld)
    assert all(map(np.array_equal, bank.withheld(asked, None), bank.alike(asked)))
    queries = make.keys(rng, 60)
    found = bank.search(queries, 5, 0.5, exclude=withheld)
    apart = bank.search(queries, 5, 0.5, exclude=[out.copy() for out in withheld])
    assert np.array_equal(found.index, apart.index) and np.array_equal(found.score, apart.score)
    for row, out in zip(found.index, withheld, strict=True):
        assert not {*row.tolist()} & {*out.tolist()}
    # an array of rows, whose rows are new objects at each pass
    rows = np.sort(rng.integers(0, 60, (60, 4)))
    found = bank.search(queries, 5, 0.5, exclude=rows)
    apart = bank.search(queries, 5, 0.5, exclude=[row.copy() for row in rows])
    assert np.array_equal(found.index, apart.index) and np.array_equal(found.score, apart.score)


def test_nothing_to_ask_and_nobody_to_find(make):
    items, videos, known_by, exclude = tables(5, make)
    assert Groups(items).latest(videos[:0], 3, known_by[:0], []).index.shape == (0, 3)
    empty = [np.empty(0, np.int64)] * videos.height
    assert not Groups(items[:0]).latest(videos, 3, known_by, empty).found.any()


def test_items_that_came_later_count_too(make):
    """A bank that was appended to: the new items are the latest, whatever their position."""
    rng = np.random.default_rng(6)
    keys = make.keys(rng, 6)
    days = np.array([5, 1, 3, 4, 9, 2])
    items = pl.DataFrame(
        {
            "video_id": [f"b{i}" for i in range(6)],
            "known_at": make.times(days),
            "creator_id": ["ann"] * 6,
        }
    )
    some, rest = np.arange(3), np.arange(3, 6)
    bank = Bank.build(items[:3], keys.select(some), {"day": days[:3]})
    bank = bank.append(items[3:], keys.select(rest), {"day": days[3:]})
    video = pl.DataFrame({"video_id": ["v"], "creator_id": ["ann"]})
    by = make.times(np.array([5]))
    got = bank.groups().latest(video, 4, by, bank.alike(video))
    assert bank.take("day", got.index).tolist() == [[5, 4, 3, 2]]
    same = pl.DataFrame({"video_id": ["b3"], "creator_id": ["ann"]})
    got = bank.groups().latest(same, 4, by + np.timedelta64(9, "D"), bank.alike(same))
    assert bank.take("day", got.index).tolist() == [[9, 5, 3, 2]]
