"""Reading the tables: what is accepted, what is refused and in which words."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from m3tr.data.tables import TIME, as_time, read_feedback, read_videos
from m3tr.errors import InputError

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())
VIDEO = {"video_id": ["a", "b"], "published_at": [NOON, NOON]}
EVENT = {"video_id": ["a", "b"], "time": [NOON, NOON], "kind": ["view", "like"]}


def write(tmp_path, name, columns):
    path = tmp_path / name
    pl.DataFrame(columns).write_parquet(path)
    return path


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("t", [NOON], dtype=pl.Datetime("ns", "UTC")),
        pl.Series("t", [NOON.replace(tzinfo=None)], dtype=pl.Datetime("ms")),
        pl.Series("t", [NOON]).dt.convert_time_zone("Asia/Shanghai"),
        pl.Series("t", ["2024-01-01T12:00:00Z"]),
        pl.Series("t", ["2024-01-01 12:00"]),
        pl.Series("t", [" 2024-01-01T14:00:00.000+02:00 "]),
        pl.Series("t", ["2024-01-01T12:00:00"], dtype=pl.String),
        pl.Series("t", [SECONDS]),
        pl.Series("t", [SECONDS * 1_000]),
        pl.Series("t", [SECONDS * 1_000_000]),
        pl.Series("t", [SECONDS], dtype=pl.UInt32),
    ],
)
def test_every_way_to_write_a_time_gives_the_same_time(series):
    read = as_time(series, Path("x.parquet"))
    assert read.dtype == TIME
    assert read.to_list() == [NOON]


def test_a_date_is_its_midnight_and_one_bad_time_is_a_fault_of_its_row():
    path = Path("x.parquet")
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    assert as_time(pl.Series("t", [date(2024, 1, 1)]), path).to_list() == [midnight]
    assert as_time(pl.Series("t", ["2024-01-01", "soon"]), path).to_list() == [midnight, None]
    assert as_time(pl.Series("t", [SECONDS, 0, None]), path).to_list() == [NOON, None, None]


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (pl.Series("t", [SECONDS, SECONDS * 1_000]), "unit is unclear .mixes units"),
        (pl.Series("t", [1, 2]), "unit is unclear .fits no unit"),
        (pl.Series("t", [float(SECONDS)]), "must hold times, not Float64"),
        (pl.Series("t", ["soon", "later"]), "no ISO 8601 time .row 0: 'soon'"),
    ],
)
def test_a_column_that_is_no_time_is_refused(series, words):
    with pytest.raises(InputError, match=words):
        as_time(series, Path("x.parquet"))


def test_videos_are_read_in_canonical_types(tmp_path):
    path = write(
        tmp_path,
        "videos.parquet",
        VIDEO
        | {
            "video_id": [7, 8],
            "creator_id": pl.Series(["x", None], dtype=pl.Categorical),
            "category": [1, 2],
            "description": [None, None],
            "duration": ["PT1H2M3.5S", "P1DT5S"],
            "creator_created_at": [NOON - timedelta(days=3), NOON + timedelta(days=1)],
            "creator_verified": [True, None],
            "loudness": [float("nan"), float("-inf")],
            "emb_text": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float64, 2)),
        },
    )
    videos = read_videos(path)
    assert videos["video_id"].to_list() == ["7", "8"]
    assert videos["creator_id"].to_list() == ["x", None]
    assert videos["category"].to_list() == ["1", "2"]
    assert videos["description"].dtype == pl.String
    assert videos["duration_s"].to_list() == [3_723.5, 86_405.0]
    # what is dated after the publication was not known then
    assert videos["creator_age_days"].to_list() == [3.0, None]
    assert videos["creator_verified"].to_list() == [True, None]
    assert videos["loudness"].null_count() == 2
    assert videos["emb_text"].dtype == pl.List(pl.Float32)
    assert "duration" not in videos.columns and "creator_created_at" not in videos.columns


def test_a_table_without_counts_is_an_event_log(tmp_path):
    feedback = read_feedback(write(tmp_path, "feedback.parquet", EVENT | {"device": ["x", "y"]}))
    assert feedback.columns == ["video_id", "time", "kind", "count"]
    assert feedback["count"].to_list() == [1, 1]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"video_id": ["a"]}, "column 'published_at' is missing .there: video_id"),
        (VIDEO | {"published_at": [1.5, 2.5]}, "'published_at' must hold times"),
        (VIDEO | {"video_id": [1.5, 2.5]}, "'video_id' must hold text, not Float64"),
        (VIDEO | {"title": [[1], [2]]}, "'title' must hold text"),
        (VIDEO | {"duration_s": ["long", "short"]}, "'duration_s' must hold numbers"),
        (VIDEO | {"emb_visual": ["a", "b"]}, "'emb_visual' must hold lists of numbers"),
        (VIDEO | {"tags": [["x"], ["y"]]}, "'tags' has the type List"),
        ({"video_id": [], "published_at": []}, "has no rows"),
        (
            VIDEO | {"creator_age_days": [1, 2], "creator_at": [NOON, NOON]},
            "two columns give 'creator_age_days'",
        ),
    ],
)
def test_a_broken_videos_table_is_refused_with_file_and_column(tmp_path, columns, words):
    path = write(tmp_path, "videos.parquet", columns)
    with pytest.raises(InputError, match=words) as told:
        read_videos(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_broken_feedback_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="'count' must hold numbers, not String"):
        read_feedback(write(tmp_path, "a.parquet", EVENT | {"count": ["1", "2"]}))
    with pytest.raises(InputError, match="no such file"):
        read_feedback(tmp_path / "feedback.parquet")
    with pytest.raises(InputError, match="no such file"):
        read_feedback(tmp_path)
    text = tmp_path / "b.parquet"
    text.write_text("video_id,time,kind\n")
    with pytest.raises(InputError, match="not a readable parquet file"):
        read_feedback(text)
    cut = write(tmp_path, "c.parquet", EVENT)
    cut.write_bytes(cut.read_bytes()[:-40])
    with pytest.raises(InputError, match="not a readable parquet file"):
        read_feedback(cut)


def test_columns_can_be_left_out(tmp_path):
    path = write(tmp_path, "videos.parquet", VIDEO | {"tags": [["x"], ["y"]]})
    assert read_videos(path, drop=["tags"]).columns == ["video_id", "published_at"]
    with pytest.raises(InputError, match="'rumor' is missing"):
        read_videos(path, drop=["rumor"])
    with pytest.raises(InputError, match="cannot be dropped"):
        read_videos(path, drop=["published_at"])
