"""Suites of the raw tables: a frame that breaks each expectation, and one that does not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from m3tr.data import raw_quality, suites
from m3tr.data.settings import QualitySettings

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
N = 50
SETTINGS = QualitySettings(max_quarantined=0.1, max_likes_above_views=0.1)

Change = Callable[[pl.DataFrame], pl.DataFrame]


def tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Fifty videos with ten hours of views and some likes, as read."""
    ids = [f"v{i:02d}" for i in range(N)]
    videos = pl.DataFrame(
        {
            "video_id": ids,
            "published_at": [START + i * HOUR for i in range(N)],
            "duration_s": [10.0] * N,
            "category": ["music"] * N,
        }
    )
    rows = [
        (v, START + (i + s) * HOUR, "like" if s == 5 else "view", 2)
        for i, v in enumerate(ids)
        for s in range(10)
    ]
    feedback = pl.DataFrame(rows, schema=["video_id", "time", "kind", "count"], orient="row")
    cast = pl.col(pl.Datetime).cast(pl.Datetime("us", "UTC"))
    return videos.with_columns(cast), feedback.with_columns(cast)


def first(share: float, **columns: object) -> Change:
    """Replace columns on the first `share` of the rows."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        there = pl.int_range(pl.len()) < round(share * frame.height)
        return frame.with_columns(
            pl.when(there)
            .then(new if isinstance(new, pl.Expr) else pl.lit(new))
            .otherwise(pl.col(name))
            .alias(name)
            for name, new in columns.items()
        )

    return change


def told(videos: pl.DataFrame, feedback: pl.DataFrame, folder: Path) -> dict[str, list[str]]:
    found = suites.together(suites.run(raw_quality.suites(videos, feedback, SETTINGS), folder))
    return {kind: found[kind] for kind in ("failed", "warnings")}


LONG_AGO = datetime(1999, 1, 1, tzinfo=UTC)
NEVER_SEEN = datetime(2030, 1, 1, tzinfo=UTC)
# table, what is done to a share of its rows, suite and column that tell it, whether that stops
BREAKS: dict[str, tuple[str, dict[str, object], str, str, str]] = {
    "ids missing": ("videos", {"video_id": " "}, "raw_videos", "video_id", "failed"),
    "ids repeated": ("videos", {"video_id": "v40"}, "raw_videos", "repeated", "failed"),
    "no publication": ("videos", {"published_at": None}, "raw_videos", "year", "failed"),
    "before 2000": (
        "videos",
        {"published_at": LONG_AGO},
        "raw_videos",
        "or equal to 2000",
        "failed",
    ),
    "after the end": (
        "videos",
        {"published_at": NEVER_SEEN},
        "raw_videos",
        "days_before_end",
        "warnings",
    ),
    "milliseconds": ("videos", {"duration_s": 7e5}, "raw_videos", "duration_s", "failed"),
    "negative length": ("videos", {"duration_s": -1.0}, "raw_videos", "duration_s", "failed"),
    "feedback of none": ("feedback", {"video_id": ""}, "raw_feedback", "without_id", "failed"),
    "unknown videos": ("feedback", {"video_id": "nobody"}, "raw_feedback", "unknown", "failed"),
    "no time": ("feedback", {"time": None}, "raw_feedback", "without_time", "failed"),
    "no kind": ("feedback", {"kind": " "}, "raw_feedback", "without_kind", "failed"),
    "zero": ("feedback", {"count": 0}, "raw_feedback", "bad_counts", "failed"),
    "no count": ("feedback", {"count": None}, "raw_feedback", "bad_counts", "failed"),
    "halves": ("feedback", {"count": 0.5}, "raw_feedback", "bad_counts", "failed"),
    "huge": ("feedback", {"count": 10**13}, "raw_feedback", "bad_counts", "failed"),
    "too early": (
        "feedback",
        {"time": pl.col("time") - 100 * HOUR},
        "raw_feedback",
        "too_early",
        "failed",
    ),
    "epoch of seconds": ("feedback", {"time": LONG_AGO}, "raw_feedback", "before_2000", "failed"),
    "likes": (
        "feedback",
        {"count": pl.when(pl.col("kind") == "like").then(99).otherwise(pl.col("count"))},
        "raw_feedback",
        "likes_above_views",
        "failed",
    ),
}


@pytest.mark.parametrize(
    ("table", "columns", "suite", "column", "kind"), BREAKS.values(), ids=BREAKS.keys()
)
def test_a_fault_of_many_rows_is_told_and_of_few_is_not(
    tmp_path: Path, table: str, columns: dict[str, object], suite: str, column: str, kind: str
) -> None:
    for share, expected in ((0.3, True), (0.1, False)):
        videos, feedback = tables()
        if table == "videos":
            videos = first(share, **columns)(videos)
        else:
            feedback = first(share, **columns)(feedback)
        found = [t for t in told(videos, feedback, tmp_path)[kind] if t.startswith(f"{suite}: ")]
        assert bool([t for t in found if column in t and "remedy: " in t]) is expected, found


def test_sound_tables_pass_and_the_pages_name_the_suites(tmp_path: Path) -> None:
    assert told(*tables(), tmp_path) == {"failed": [], "warnings": []}
    pages = [p.relative_to(tmp_path).parts[1] for p in tmp_path.glob("validations/**/*.html")]
    assert sorted(pages) == ["raw_columns", "raw_feedback", "raw_videos"]
    index = (tmp_path / "index.html").read_text()
    assert all(name in index for name in pages)


def test_rows_out_of_order_are_a_warning(tmp_path: Path) -> None:
    videos, feedback = tables()
    found = told(videos, feedback.reverse(), tmp_path)
    assert found["failed"] == []
    assert len(found["warnings"]) == 1 and "in_order" in found["warnings"][0]
    assert "the first at video_id v00" in found["warnings"][0]


def test_columns_of_nulls_are_a_warning_that_names_the_column(tmp_path: Path) -> None:
    videos, feedback = tables()
    found = told(first(0.6, category=None)(videos), feedback, tmp_path)
    assert found["failed"] == []
    assert len(found["warnings"]) == 1 and "the first at column category (0.6)" in str(found)
    assert told(first(0.5, category=None)(videos), feedback, tmp_path)["warnings"] == []


def test_a_table_without_likes_or_other_columns_passes(tmp_path: Path) -> None:
    videos, feedback = tables()
    views = feedback.filter(pl.col("kind") == "view")
    assert told(videos.select("video_id", "published_at"), views, tmp_path)["failed"] == []
    likes = feedback.filter(pl.col("kind") == "like")
    assert told(videos, likes, tmp_path)["failed"] == []


def test_what_is_tolerated_is_so_to_the_last_row() -> None:
    assert all(suites.all_but(k / 100) <= (100 - k) / 100 for k in range(101))
    assert all(suites.all_but(k / 100) > (99 - k) / 100 for k in range(99))


def test_one_fault_in_many_videos_is_counted_in_rows() -> None:
    """A bad row in each video is a tenth of the rows, not all of them."""
    videos, feedback = tables()
    spoilt = feedback.with_columns(
        count=pl.when(pl.int_range(pl.len()) % 10 == 3).then(-1).otherwise(pl.col("count"))
    )
    frame = raw_quality.feedback_frame(videos, spoilt)
    assert frame["bad_counts"].sum() == N and frame["rows"].sum() == 10 * N


def test_slices_give_what_the_whole_table_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    videos, feedback = tables()
    mixed = feedback.sample(fraction=1, shuffle=True, seed=1)
    wholes = [raw_quality.feedback_frame(videos, table) for table in (feedback, mixed)]
    assert wholes[0]["in_order"].all() and not wholes[1]["in_order"].any()
    monkeypatch.setattr(raw_quality, "ROWS_AT_ONCE", 7)
    for table, whole in zip((feedback, mixed), wholes, strict=True):
        assert raw_quality.feedback_frame(videos, table).equals(whole)


def test_feedback_of_unknown_videos_is_one_row() -> None:
    videos, feedback = tables()
    strange = feedback.with_columns(pl.format("x{}", pl.int_range(pl.len())).alias("video_id"))
    frame = raw_quality.feedback_frame(videos, strange)
    assert frame.height == 1
    assert frame["unknown"].to_list() == [10 * N] and frame["in_order"].to_list() == [None]
