"""What is expected of the tables as they were read, before anything was set aside.

Row faults that the quarantine tolerates are tolerated here: the feedback is summed up by video, and
the sums are held against `quality.max_quarantined` of all rows.
"""

from typing import Any

import polars as pl

from m3tr.data.quarantine import MAX_COUNT, blank
from m3tr.data.settings import QualitySettings
from m3tr.data.suites import CRITICAL, Suite, all_but, critical, warning

FIRST_YEAR = 2000
MAX_DURATION_S = 7 * 86_400
ROWS_AT_ONCE = 2_000_000
COUNTS = (
    "rows",
    "without_id",
    "unknown",
    "without_time",
    "without_kind",
    "bad_counts",
    "too_early",
    "before_2000",
)
VIEWS, LIKES = ("view", "views"), ("like", "likes")
NEEDED = ("video_id", "published_at", "time", "kind", "count")
# judged by a suite of its own with its own threshold
TEXT = ("title",)


def suites(
    videos: pl.DataFrame, feedback: pl.DataFrame, settings: QualitySettings
) -> dict[str, Suite]:
    """Suites of both tables as `m3tr.data.tables` reads them, over frames without their rows.

    Parameters
    ----------
    videos, feedback : DataFrame
        Not cleaned; not needed after this call.
    settings : QualitySettings

    Returns
    -------
    dict
        `raw_videos` (a row a row), `raw_columns` (a row a column that need not be filled) and
        `raw_feedback` (a row a video).
    """
    return {
        "raw_videos": Suite(videos_frame(videos, feedback), _of_videos(settings), "row"),
        "raw_columns": Suite(columns_frame(videos), _of_columns(settings), "column"),
        "raw_feedback": Suite(
            feedback_frame(videos, feedback), _of_feedback(feedback.height, settings), "video_id"
        ),
    }


def videos_frame(videos: pl.DataFrame, feedback: pl.DataFrame) -> pl.DataFrame:
    """One row a row: `row`, `video_id`, `repeated`, `year`, `days_before_end`, `duration_s`.

    `repeated` is true from the second row of an id on; `days_before_end` is the time from the
    publication to the last feedback of all.
    """
    last = feedback["time"].max()
    to_end = (pl.lit(last, feedback["time"].dtype) - pl.col("published_at")).dt
    duration = pl.col("duration_s") if "duration_s" in videos.columns else pl.lit(None)
    return videos.with_row_index("row").select(
        pl.col("row").cast(pl.Int64),
        pl.when(~blank("video_id")).then("video_id").alias("video_id"),
        (~blank("video_id") & ~pl.col("video_id").is_first_distinct()).alias("repeated"),
        pl.col("published_at").dt.year().cast(pl.Int64).alias("year"),
        (to_end.total_microseconds() / 86_400e6).alias("days_before_end"),
        duration.cast(pl.Float64).alias("duration_s"),
    )


def columns_frame(videos: pl.DataFrame) -> pl.DataFrame:
    """One row a column of the videos table that need not be filled: `column`, `null_share`."""
    free = [c for c in videos.columns if c not in (*NEEDED, *TEXT)]
    shares = [videos[c].null_count() / max(videos.height, 1) for c in free]
    schema = {"column": pl.String, "null_share": pl.Float64}
    return pl.DataFrame({"column": free, "null_share": shares}, schema=schema)


def feedback_frame(videos: pl.DataFrame, feedback: pl.DataFrame) -> pl.DataFrame:
    """One row a video that has feedback, and one, without `video_id`, for all that is of none.

    Counts of rows: `rows`, `without_id`, `unknown`, `without_time`, `without_kind`, `bad_counts`
    (missing, negative, zero, broken or above 10^12), `too_early` (before the publication),
    `before_2000`. Beside them `in_order` (no row is earlier than the one above it) and
    `likes_above_views` (null for a video without likes, or where the table has no such kinds).
    """
    known = (
        videos.filter(~blank("video_id"))
        .unique("video_id", keep="first", maintain_order=True)
        .select("video_id", "published_at", pl.lit(True).alias("_known"))
    )
    kinds = set(feedback["kind"].unique())
    both = all(any(kind in kinds for kind in names) for names in (VIEWS, LIKES))
    parts = [_by_video(part, known) for part in feedback.iter_slices(ROWS_AT_ONCE)]
    # where one slice ends and the next goes on with the same video
    follows = pl.col("_first").drop_nulls() >= pl.col("_last").drop_nulls().shift(1)
    frame = (
        pl.concat(parts)
        .group_by("video_id", maintain_order=True)
        .agg(
            pl.col(*COUNTS, "_views", "_likes").sum(),
            (pl.col("in_order").all() & follows.all()).alias("in_order"),
        )
        .sort("video_id")
    )
    mine = pl.col("video_id").is_not_null()
    above = pl.when(mine & pl.lit(both) & (pl.col("_likes") > 0))
    return frame.with_columns(
        # rows of no video have no order
        pl.when(mine).then("in_order").alias("in_order"),
        above.then(pl.col("_likes") > pl.col("_views")).alias("likes_above_views"),
    ).drop("_views", "_likes")


def _by_video(feedback: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Sums of some rows by video, and the first and last of their times."""
    number = pl.col("count").cast(pl.Float64)
    usable = (number >= 1) & (number <= MAX_COUNT) & (number == number.floor())
    good = usable.fill_null(False)
    faults = {
        "rows": pl.len(),
        "without_id": blank("video_id").sum(),
        "unknown": (~blank("video_id") & pl.col("_known").is_null()).sum(),
        "without_time": pl.col("time").null_count(),
        "without_kind": blank("kind").sum(),
        "bad_counts": (~good).sum(),
        "too_early": (pl.col("time") < pl.col("published_at")).sum(),
        "before_2000": (pl.col("time").dt.year() < FIRST_YEAR).sum(),
    }
    time = pl.col("time").drop_nulls()
    return (
        feedback.join(known, on="video_id", how="left", maintain_order="left")
        .group_by(pl.when(pl.col("_known")).then(pl.col("video_id")).alias("video_id"))
        .agg(
            *(faults[name].cast(pl.Int64).alias(name) for name in COUNTS),
            (time.diff().dt.total_microseconds() >= 0).all().alias("in_order"),
            time.first().alias("_first"),
            time.last().alias("_last"),
            number.filter(good & pl.col("kind").is_in(VIEWS)).sum().alias("_views"),
            number.filter(good & pl.col("kind").is_in(LIKES)).sum().alias("_likes"),
        )
    )


def _of_videos(settings: QualitySettings) -> list[Any]:
    import great_expectations.expectations as gxe

    mostly = all_but(settings.max_quarantined)
    between = gxe.ExpectColumnValuesToBeBetween
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, **CRITICAL),
        gxe.ExpectColumnValuesToNotBeNull(
            column="video_id", mostly=mostly, **critical("fill in video_id")
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="repeated",
            value_set=[False],
            mostly=mostly,
            **critical("keep one row per video in data/videos.parquet"),
        ),
        gxe.ExpectColumnValuesToNotBeNull(
            column="year", mostly=mostly, **critical("fill in published_at as an ISO 8601 time")
        ),
        between(
            column="year",
            min_value=FIRST_YEAR,
            mostly=mostly,
            **critical("check the unit and the time zone of published_at"),
        ),
        between(
            column="days_before_end",
            min_value=0,
            mostly=mostly,
            **warning("videos published after the last feedback cannot be examples"),
        ),
        between(
            column="duration_s",
            min_value=0,
            max_value=MAX_DURATION_S,
            mostly=mostly,
            **critical("give duration_s in seconds"),
        ),
    ]


def _of_columns(settings: QualitySettings) -> list[Any]:
    import great_expectations.expectations as gxe

    words = warning("fill in the column, or leave it out, or raise quality.max_nulls")
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="null_share", min_value=0, max_value=settings.max_nulls, **words
        )
    ]


def _of_feedback(rows: int, settings: QualitySettings) -> list[Any]:
    import great_expectations.expectations as gxe

    def few(column: str, remedy: str) -> Any:
        """At most the tolerated share of all rows."""
        limit = settings.max_quarantined * rows
        return gxe.ExpectColumnSumToBeBetween(
            column=column, min_value=0, max_value=limit, **critical(remedy)
        )

    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, **CRITICAL),
        few("without_id", "fill in video_id"),
        few("unknown", "add the videos to data/videos.parquet, or leave out their feedback"),
        few("without_time", "fill in time as an ISO 8601 time"),
        few("without_kind", "fill in the kind of feedback"),
        few("bad_counts", "write whole counts of at least 1"),
        few("too_early", "check published_at and the time zone of both tables"),
        few("before_2000", "check the unit of time"),
        gxe.ExpectColumnValuesToBeInSet(
            column="in_order",
            value_set=[True],
            mostly=all_but(settings.max_quarantined),
            **warning("sort data/feedback.parquet by video_id and time; results do not change"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="likes_above_views",
            value_set=[False],
            mostly=all_but(settings.max_likes_above_views),
            **critical(
                "check whether the kinds are interchanged, or raise quality.max_likes_above_views "
                "in params.yaml"
            ),
        ),
    ]
