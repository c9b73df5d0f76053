"""The quarantine: every fault with its row and reason, every good row kept."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from m3tr.data.quarantine import MAX_COUNT, SCHEMA, clean, counts, empty, enforce
from m3tr.data.settings import QualitySettings
from m3tr.errors import InputError

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIME = pl.Datetime("us", "UTC")


def videos_of(rows):
    schema = {"video_id": pl.String, "published_at": TIME, "media": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def feedback_of(rows, count=pl.Int64):
    schema = {"video_id": pl.String, "time": TIME, "kind": pl.String, "count": count}
    return pl.DataFrame(rows, schema=schema, orient="row")


GOOD = [("a", NOON, None), ("b", NOON, "media/b.mp4")]
EVENT = ("a", NOON + HOUR, "view", 1)


def test_clean_tables_stay_whole():
    covariate = videos_of(GOOD).with_columns(row=pl.lit(5))  # a name of our own, too
    videos, feedback, quarantine = clean(covariate, feedback_of([EVENT, EVENT]))
    assert videos["row"].to_list() == [5, 5]
    # two equal rows are two events
    assert (videos.height, feedback.height, quarantine.height) == (2, 2, 0)
    assert dict(quarantine.schema) == SCHEMA
    assert feedback["count"].dtype == pl.Int64


def test_video_faults():
    rows = [
        *GOOD,
        (None, NOON, None),
        ("  ", NOON, None),
        ("a", NOON + HOUR, None),
        ("c", None, None),
        ("c", NOON, "  "),
        ("d", NOON, "/etc/passwd"),
        ("e", NOON, "media/../../x.mp4"),
        ("f", NOON, "media/..x.mp4"),
    ]
    videos, _, quarantine = clean(videos_of(rows), feedback_of([EVENT]))
    # the readable row of c counts as its first
    assert sorted(videos["video_id"]) == ["a", "b", "c", "f"]
    assert videos.filter(pl.col("video_id") == "c")["media"].to_list() == [None]
    assert videos.filter(pl.col("video_id") == "a")["published_at"].to_list() == [NOON]
    assert quarantine.select("row", "reason").rows() == [
        (2, "video_id is missing"),
        (3, "video_id is missing"),
        (4, "video_id is a duplicate"),
        (5, "published_at is missing or unreadable"),
        (7, "media path leaves the data folder"),
        (8, "media path leaves the data folder"),
    ]
    assert quarantine["remedy"].null_count() == 0


def test_embedding_faults():
    vectors = [[1.0, 2.0], [3.0, 4.0], [5.0], [6.0, float("nan")], [7.0, None], None]
    videos = pl.DataFrame(
        {"video_id": list("abcdef"), "published_at": [NOON] * 6, "emb_text": vectors},
        schema_overrides={"published_at": TIME, "emb_text": pl.List(pl.Float32)},
    )
    good, _, quarantine = clean(videos, feedback_of([EVENT]))
    assert good["video_id"].to_list() == ["a", "b", "f"]
    assert quarantine.select("row", "reason").rows() == [
        (2, "embedding of another length"),
        (3, "embedding holds a missing or infinite number"),
        (4, "embedding holds a missing or infinite number"),
    ]


def test_feedback_faults():
    late = NOON + HOUR
    rows = [
        ("a", NOON, "view", 1.0),
        (None, late, "view", 1.0),
        ("a", None, "view", 1.0),
        ("a", late, None, 1.0),
        ("a", late, " ", 1.0),
        ("a", late, "view", None),
        ("a", late, "view", float("nan")),
        ("a", late, "view", -1.0),
        ("a", late, "view", 0.0),
        ("a", late, "view", 1.5),
        ("a", late, "view", float("inf")),
        ("z", late, "view", 1.0),
        ("c", late, "view", 1.0),
        ("a", NOON - timedelta(microseconds=1), "view", 1.0),
        ("b", late, "like", float(MAX_COUNT)),
    ]
    _, feedback, quarantine = clean(
        videos_of([*GOOD, ("c", None, None)]), feedback_of(rows, pl.Float64)
    )
    assert feedback.rows() == [("a", NOON, "view", 1), ("b", late, "like", MAX_COUNT)]
    assert feedback["count"].dtype == pl.Int64
    table = quarantine.filter(pl.col("table") == "feedback")
    assert table.select("row", "reason").rows() == [
        (1, "video_id is missing"),
        (2, "time is missing or unreadable"),
        (3, "kind is missing"),
        (4, "kind is missing"),
        (5, "count is missing"),
        (6, "count is missing"),
        (7, "count is negative"),
        (8, "count is zero"),
        (9, "count is not a whole number"),
        (10, "count is above 10^12"),
        (11, "video_id is not in the videos table"),
        (12, "its video is in quarantine"),
        (13, "time is before publication"),
    ]
    assert counts(quarantine)["feedback"]["kind is missing"] == 2


def test_good_rows_do_not_depend_on_the_order_of_the_file():
    feedback = feedback_of([(v, NOON + s * HOUR, "view", s + 1) for v in "ab" for s in range(9)])
    videos = videos_of(GOOD)
    first = clean(videos, feedback)
    second = clean(videos.reverse(), feedback.sample(fraction=1, shuffle=True, seed=1))
    assert all(one.equals(other) for one, other in zip(first, second, strict=True))


def test_too_much_dirt_stops_in_one_sentence():
    rows = [EVENT] * 97 + [("a", None, "view", 1), ("z", NOON, "view", 1), ("z", NOON, "view", 1)]
    _, _, quarantine = clean(videos_of(GOOD), feedback_of(rows))
    sizes = {"videos": 2, "feedback": 100}
    enforce(quarantine, sizes, QualitySettings(max_quarantined=0.03))
    with pytest.raises(InputError) as told:
        enforce(
            quarantine,
            sizes,
            QualitySettings(),
            files={"feedback": "in/f.parquet"},
            where="q.parquet",
        )
    assert str(told.value) == (
        "in/f.parquet: 3 of 100 rows (3.0%) are unusable, more than quality.max_quarantined = "
        "0.02; the first is row 97 (time is missing or unreadable): "
        "fill in time as an ISO 8601 time; "
        "all are listed in q.parquet."
    )


def test_feedback_of_a_rejected_video_does_not_count_against_the_feedback():
    _, _, quarantine = clean(
        videos_of([*GOOD, ("c", None, None)]), feedback_of([EVENT, ("c", NOON, "view", 1)])
    )
    enforce(quarantine, {"feedback": 2}, QualitySettings(max_quarantined=0))
    with pytest.raises(InputError, match="data/videos.parquet: 1 of 3 rows"):
        enforce(quarantine, {"videos": 3}, QualitySettings(max_quarantined=0))
    enforce(empty(), {"videos": 3}, QualitySettings(max_quarantined=0))


def test_a_million_rows_take_seconds():
    import time

    n = 1_000_000
    feedback = pl.DataFrame({"i": pl.int_range(n, eager=True)}).select(
        ("v" + (pl.col("i") % 5_000).cast(pl.String)).alias("video_id"),
        (pl.lit(NOON).cast(TIME) + pl.duration(seconds=pl.col("i"))).alias("time"),
        pl.lit("view").alias("kind"),
        (pl.col("i") % 1_000).alias("count"),
    )
    videos = (
        feedback.select("video_id")
        .unique()
        .with_columns(pl.lit(NOON).cast(TIME).alias("published_at"))
    )
    start = time.perf_counter()
    _, kept, quarantine = clean(videos, feedback)
    assert time.perf_counter() - start < 20
    assert (kept.height, quarantine.height) == (999_000, 1_000)
