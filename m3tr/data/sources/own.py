"""Source: a folder of media files with tables of one's own, CSV or parquet (docs/own-data.md)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.data import quarantine
from m3tr.data.sources import delimited, mediafiles, snapshots
from m3tr.data.sources.base import Loaded
from m3tr.data.sources.delimited import Table
from m3tr.data.tables import feedback_table, read_parquet, require, videos_table
from m3tr.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet")


def load(src: Path, drop: Sequence[str] = (), target: str = "view") -> Loaded:
    """Read ``videos``, and ``feedback`` or ``snapshots``, each ``.csv`` or ``.parquet``, in `src`.

    Parameters
    ----------
    src : Path
        Media files lie anywhere below. A video without a cell in `media` gets the file whose name
        without suffix is its `video_id`: a film before a picture before a sound; two of the best
        kind are ambiguous, and none is taken.
    drop : sequence of str
        Columns of the videos table to leave out.
    target : str
        Kind whose counter a video needs (snapshots).

    Raises
    ------
    InputError
        A table as a whole is missing, doubled or unusable.
    """
    path = _only(src, "videos")
    events, counters = _find(src, "feedback"), _find(src, "snapshots")
    if bool(events) == bool(counters):
        there = "both" if events else "neither"
        raise InputError(
            f"{src}: {there} of feedback.csv (events) and snapshots.csv (counters) is there; "
            "keep one of them (.parquet will do, too)."
        )
    table = _read(path)
    videos = videos_table(delimited.typed(table.frame, path), path, drop)
    videos, media = _with_media(videos, src)
    if events:
        name, other_path = "feedback", _only(src, "feedback")
        other = _read(other_path)
        feedback = feedback_table(_event_types(other.frame), other_path)
        loaded = Loaded(*quarantine.clean(videos, feedback))
    else:
        name, other_path = "snapshots", _only(src, "snapshots")
        other = _long(_read(other_path), other_path)
        values = snapshots.snapshots_table(other.frame, other_path)
        loaded = snapshots.from_tables(videos, values, target, other_path)
    files = {"videos": path.name, name: other_path.name}
    rejected = _in_file({"videos": table, name: other}, loaded.rejected)
    figures = {"tables": {files["videos"]: table.notes, files[name]: other.notes}}
    return Loaded(loaded.videos, loaded.feedback, rejected, loaded.figures | media | figures, files)


def _find(src: Path, name: str) -> list[Path]:
    return [src / f"{name}{s}" for s in SUFFIXES if (src / f"{name}{s}").is_file()]


def _only(src: Path, name: str) -> Path:
    found = _find(src, name)
    if not found:
        raise InputError(f"{src}/{name}.csv: no such file; put the table there (or as .parquet).")
    if len(found) > 1:
        raise InputError(f"{src}: {found[0].name} and {found[1].name} are both there; keep one.")
    return found[0]


def _read(path: Path) -> Table:
    if path.suffix != ".parquet":
        return delimited.read(path)
    frame = read_parquet(path)
    nothing = pl.Series("_row", [], pl.Int64)
    return Table(frame, pl.int_range(frame.height, eager=True), nothing, {"format": "parquet"})


def _event_types(frame: pl.DataFrame) -> pl.DataFrame:
    if "time" in frame.columns:
        frame = frame.with_columns(delimited.times(frame["time"]))
    if "count" in frame.columns:
        frame = frame.with_columns(delimited.numbers(frame["count"]))
    return frame


def _long(table: Table, path: Path) -> Table:
    """One row a counter: a wide table has a column per kind beside `video_id` and `time`."""
    frame = table.frame
    require(frame, ("video_id", "time"), path)
    frame = frame.with_columns(delimited.times(frame["time"]))
    if "value" in frame.columns or "kind" in frame.columns:
        require(frame, ("kind", "value"), path)
        long = frame.with_columns(delimited.numbers(frame["value"]))
        return Table(long, table.rows, table.torn, table.notes)
    kinds = [c for c in frame.columns if c not in ("video_id", "time")]
    if not kinds:
        raise InputError(
            f"{path}: there is no counter; add the columns kind and value, or one column a kind."
        )
    wide = frame.with_columns(delimited.numbers(frame[c]).cast(pl.Float64) for c in kinds)
    long = (
        wide.with_columns(table.rows.alias("_row"))
        .unpivot(kinds, index=["_row", "video_id", "time"], variable_name="kind")
        .drop_nulls("value")  # an empty cell: that counter was not read
        .sort("_row", maintain_order=True)
    )
    return Table(long.drop("_row"), long["_row"], table.torn, table.notes | {"form": "wide"})


def _with_media(videos: pl.DataFrame, src: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Fill `media` where it is blank, by the name of the file."""
    if "media" not in videos.columns:
        videos = videos.with_columns(pl.lit(None, pl.String).alias("media"))
    blank = quarantine.blank("media")
    n = videos.select(blank.sum()).item()
    if not n:
        return videos, {}
    found = mediafiles.index(src, [src])
    best = found.filter(pl.col("kind") == pl.col("kind").min().over("stem"))
    best = best.group_by("stem").agg(pl.col("media").first(), pl.len().alias("_n"))
    joined = videos.join(
        best.rename({"stem": "video_id", "media": "_found"}),
        on="video_id",
        how="left",
        maintain_order="left",
    )
    sure = blank & (pl.col("_n") == 1)
    told = joined.select(
        media_found_by_name=sure.sum(),
        media_ambiguous=(blank & (pl.col("_n") > 1)).sum(),
        media_not_found=(blank & pl.col("_n").is_null()).sum(),
    ).row(0, named=True)
    first = joined.filter(blank & (pl.col("_n") > 1)).head(1)
    if not first.is_empty():
        told["first_ambiguous"] = first["video_id"].item()
    media = pl.when(sure).then("_found").when(~blank).then("media").alias("media")
    joined = joined.with_columns(media).drop("_n", "_found")
    if joined["media"].null_count() == joined.height:
        joined = joined.drop("media")
    return joined, told


def _in_file(tables: dict[str, Table], rejected: pl.DataFrame) -> pl.DataFrame:
    """Count rejected rows as the file does, and file the torn ones with them."""
    parts = [rejected.filter(~pl.col("table").is_in(list(tables)))]
    for name, table in tables.items():
        own = rejected.filter(pl.col("table") == name)
        parts.append(own.with_columns(table.rows.gather(own["row"]).alias("row")))
        torn = pl.DataFrame({"_row": table.torn}).with_columns(
            pl.lit(None, pl.String).alias("video_id")
        )
        parts.append(quarantine.set_aside(torn, name, pl.lit(delimited.TOO_MANY))[1])
    return pl.concat(parts).sort("table", "row", descending=[True, False], maintain_order=True)
