"""Source: cumulative counters, as platforms show them, turned into feedback rows.

Each interval's increase becomes one row stamped at the interval's end; the first value is one row
whose count is what had accumulated by then (docs/model.md, 1). Counters fall when a platform
removes feedback: a fall gives no row and is counted, and the next increase is taken from the lower
value, so that a video's rows sum to its positive increments.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.data.quarantine import (
    NO_COUNTER,
    TIME_FAULTS,
    VIDEO_FAULTS,
    clean_videos,
    first_of,
    number_faults,
    set_aside,
    video_faults,
)
from m3tr.data.sources.base import Loaded
from m3tr.data.tables import (
    FEEDBACK_COLUMNS,
    as_number,
    as_text,
    as_time,
    read_parquet,
    read_videos,
    require,
)
from m3tr.errors import InputError

SERIES = ("video_id", "kind")
# a time at which at least this share of the videos have a value belongs to a shared clock
SHARED = 0.5


def load(src: Path, drop: Sequence[str] = (), target: str = "view") -> Loaded:
    """Read ``videos.parquet`` and ``snapshots.parquet`` in `src`.

    Parameters
    ----------
    src : Path
        ``snapshots.parquet`` holds `video_id`, `time`, `kind`, `value` (cumulative, at least 0).
    drop : sequence of str
        Columns of the videos table to leave out.
    target : str
        Kind whose counter a video needs; videos without it are rejected.

    Raises
    ------
    InputError
        A table as a whole is unusable, or no video has the target's counter.
    """
    path = src / "snapshots.parquet"
    videos = read_videos(src / "videos.parquet", drop)
    return from_tables(videos, read_snapshots(path), target, path)


def from_tables(videos: pl.DataFrame, snapshots: pl.DataFrame, target: str, path: Path) -> Loaded:
    """Clean typed tables and turn the counters into feedback; `path` is for messages."""
    good, bad_videos = clean_videos(videos)
    values, bad_values = clean_snapshots(snapshots, good, bad_videos["video_id"])
    kinds = values["kind"].unique().sort().to_list()
    if target not in kinds:
        there = ", ".join(kinds) or "none usable"
        raise InputError(
            f"{path}: no counter of the target kind {target!r} (there: {there}); name another kind."
        )
    figures = _completeness(good, values, kinds)
    counted = values.filter(pl.col("kind") == target)["video_id"].unique()
    good, bad_targets = _without_target(videos, good, counted)
    values = values.join(good.select("video_id"), on="video_id", how="semi")
    feedback, falls = increments(values)
    rejected = pl.concat([bad_videos, bad_targets, bad_values])
    return Loaded(
        good.sort("published_at", "video_id"), feedback, rejected, figures | {"decreases": falls}
    )


def read_snapshots(path: Path) -> pl.DataFrame:
    """Read the counter table in canonical types; rows are kept as they come."""
    return snapshots_table(read_parquet(path), path)


def snapshots_table(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Give a counter table its canonical types, as `read_snapshots` does."""
    require(frame, ("video_id", "time", "kind", "value"), path)
    return pl.DataFrame(
        [
            as_text(frame["video_id"], path),
            as_time(frame["time"], path),
            as_text(frame["kind"], path),
            as_number(frame["value"], path),
        ]
    )


def clean_snapshots(
    snapshots: pl.DataFrame, videos: pl.DataFrame, rejected: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide snapshots into good rows and quarantine rows.

    Parameters
    ----------
    snapshots : DataFrame
        As from `read_snapshots`.
    videos : DataFrame
        The good videos.
    rejected : Series
        Ids of the rejected ones.
    """
    frame = video_faults(snapshots.with_row_index("_row"), videos, rejected)
    faults = (*TIME_FAULTS, *number_faults("value", zero_is_a_fault=False), *VIDEO_FAULTS)
    frame, bad = set_aside(frame, "snapshots", first_of(*faults))
    double = (~pl.struct("video_id", "time", "kind").is_first_distinct(), "duplicate snapshot")
    frame, doubles = set_aside(frame, "snapshots", first_of(double))
    values = frame.select("video_id", "time", "kind", pl.col("value").cast(pl.Int64))
    return values, pl.concat([bad, doubles]).sort("row")


def increments(values: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """Turn cumulative counters into feedback rows.

    Parameters
    ----------
    values : DataFrame
        `video_id`, `time`, `kind`, `value`; unique in the first three.

    Returns
    -------
    feedback : DataFrame
        `video_id`, `time`, `kind`, `count` (positive), sorted.
    falls : dict
        By kind: `steps` (intervals), `decreased` (intervals in which the counter fell) and
        `removed` (by how much in all).
    """
    ordered = values.sort("video_id", "kind", "time")
    step = pl.col("value") - pl.col("value").shift(1).over(SERIES)
    ordered = ordered.with_columns(step.alias("_step"))
    falling = pl.col("_step") < 0
    table = ordered.group_by("kind").agg(
        pl.col("_step").count().alias("steps"),
        falling.sum().alias("decreased"),
        (-pl.col("_step")).filter(falling).sum().alias("removed"),
    )
    falls = {
        kind: {"steps": steps, "decreased": fell, "removed": removed}
        for kind, steps, fell, removed in table.sort("kind").iter_rows()
    }
    count = pl.col("_step").fill_null(pl.col("value")).alias("count")
    feedback = ordered.with_columns(count).filter(pl.col("count") > 0).select(FEEDBACK_COLUMNS)
    return feedback.sort("video_id", "time", "kind"), falls


def _without_target(
    videos: pl.DataFrame, good: pl.DataFrame, counted: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reject good videos that lack the target's counter, under their row in the source file."""
    first = (
        videos.with_row_index("_row").select("_row", "video_id").unique("video_id", keep="first")
    )
    frame = good.join(first, on="video_id", how="left", maintain_order="left")
    lacks = ~pl.col("video_id").is_in(counted.implode())
    kept, bad = set_aside(frame, "videos", first_of((lacks, NO_COUNTER)))
    return kept.drop("_row"), bad.sort("row")


def _completeness(videos: pl.DataFrame, values: pl.DataFrame, kinds: list[str]) -> dict[str, Any]:
    """Count the videos whose counters are incomplete, and those whose counters stop early.

    A video lacks a counter if a kind is missing at all or, where the videos share a clock of
    snapshots, at one of its times after publication. Where a counter stops, later growth is
    unknown and enters a label as none.
    """
    per_time = values.group_by("time").agg(pl.col("video_id").n_unique().alias("n"))
    shared = per_time.filter(pl.col("n") >= SHARED * videos.height)["time"].sort()
    on_clock = values.filter(pl.col("time").is_in(shared.implode()))
    have = on_clock.group_by("video_id").agg(pl.len().alias("_have"))
    spread = values.group_by("video_id").agg(
        pl.col("kind").n_unique().alias("_kinds"), pl.col("time").max().alias("_last")
    )
    due = shared.len() - shared.search_sorted(videos["published_at"])
    table = (
        videos.select("video_id")
        .with_columns(pl.Series("_due", due, pl.Int64) * len(kinds))
        .join(have, on="video_id", how="left")
        .join(spread, on="video_id", how="left")
        .with_columns(pl.col("_have", "_kinds").fill_null(0))
    )
    lacking = table.filter((pl.col("_kinds") < len(kinds)) | (pl.col("_have") < pl.col("_due")))
    early = 0 if shared.is_empty() else table.filter(pl.col("_last") < shared[-1]).height
    return {
        "videos_lacking_a_counter": lacking.height,
        "videos_whose_counters_stop_early": early,
        "snapshot_times": shared.len(),
    }
