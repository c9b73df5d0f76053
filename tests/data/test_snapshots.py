"""Counters to feedback, against the definition written out."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3tr.data.sources.snapshots import increments, load
from m3tr.errors import InputError

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SCHEMA = {
    "video_id": pl.String,
    "time": pl.Datetime("us", "UTC"),
    "kind": pl.String,
    "value": pl.Int64,
}

series = st.lists(st.one_of(st.none(), st.integers(0, 20)), min_size=1, max_size=8)


def frame(rows, **overrides):
    return pl.DataFrame(rows, schema=SCHEMA | overrides, orient="row")


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), series))
def test_increments_agree_with_the_definition(counters):
    rows, expected = [], []
    falls = {}
    for (video, kind), values in counters.items():
        before = None
        for day, value in enumerate(values):
            if value is None:
                continue  # no snapshot on that day: the next increase covers two
            time = START + day * DAY
            rows.append((video, time, kind, value))
            steps, fell, removed = falls.get(kind, (0, 0, 0))
            if before is None:
                rise = value
            else:
                rise = value - before
                steps += 1
                fell += rise < 0
                removed += max(0, -rise)
            falls[kind] = (steps, fell, removed)
            if rise > 0:
                expected.append((video, time, kind, rise))
            before = value
    feedback, told = increments(frame(rows).sample(fraction=1, shuffle=True, seed=1))
    assert feedback.rows() == sorted(expected)
    assert {k: tuple(v.values()) for k, v in told.items()} == falls


def test_the_readable_example():
    rows = [("a", START + d * DAY, "view", n) for d, n in enumerate([10, 15, 12, 13, 13, 20])]
    feedback, falls = increments(frame(rows))
    assert feedback.select("time", "count").rows() == [
        (START, 10),
        (START + DAY, 5),
        (START + 3 * DAY, 1),
        (START + 5 * DAY, 7),
    ]
    assert falls == {"view": {"steps": 5, "decreased": 1, "removed": 3}}


def write(folder, rows, videos=("a", "b", "c"), **overrides):
    pl.DataFrame({"video_id": list(videos), "published_at": [START] * len(videos)}).write_parquet(
        folder / "videos.parquet"
    )
    frame(rows, **overrides).write_parquet(folder / "snapshots.parquet")


def test_dirty_snapshots_are_rejected_with_reasons(tmp_path):
    rows = [
        ("a", START + DAY, "view", 5.0),
        ("a", START + DAY, "view", 6.0),
        ("a", START + 2 * DAY, "view", None),
        ("a", START + 3 * DAY, "view", -1.0),
        ("a", START + 4 * DAY, "view", 7.5),
        ("a", START - DAY, "view", 1.0),
        ("z", START + DAY, "view", 1.0),
        ("a", None, "view", 1.0),
        ("a", START + DAY, None, 1.0),
        ("a", START + 5 * DAY, "view", 9.0),
        ("b", START + DAY, "view", 0.0),
        ("c", START + DAY, "like", 3.0),
    ]
    write(tmp_path, rows, value=pl.Float64)
    loaded = load(tmp_path)
    assert loaded.rejected.select("table", "row", "reason").rows() == [
        ("videos", 2, "no counter of the target kind"),
        ("snapshots", 1, "duplicate snapshot"),
        ("snapshots", 2, "value is missing"),
        ("snapshots", 3, "value is negative"),
        ("snapshots", 4, "value is not a whole number"),
        ("snapshots", 5, "time is before publication"),
        ("snapshots", 6, "video_id is not in the videos table"),
        ("snapshots", 7, "time is missing or unreadable"),
        ("snapshots", 8, "kind is missing"),
    ]
    assert loaded.feedback["count"].to_list() == [5, 4]
    # a counter of zero is a counter
    assert loaded.videos["video_id"].to_list() == ["a", "b"]


def test_incomplete_counters_are_counted(tmp_path):
    rows = [(v, START + d * DAY, "view", d) for v in "abcd" for d in range(1, 5)]
    rows = [r for r in rows if r[:2] not in {("b", START + 2 * DAY), ("c", START + 4 * DAY)}]
    write(tmp_path, rows, videos="abcd")
    assert load(tmp_path).figures == {
        "videos_lacking_a_counter": 2,
        "videos_whose_counters_stop_early": 1,
        "snapshot_times": 4,
        "decreases": {"view": {"steps": 10, "decreased": 0, "removed": 0}},
    }


def test_an_unknown_target_names_the_kinds(tmp_path):
    write(tmp_path, [("a", START + DAY, "like", 5)])
    with pytest.raises(InputError, match="target kind 'view' .there: like"):
        load(tmp_path)
    assert load(tmp_path, target="like").videos["video_id"].to_list() == ["a"]
