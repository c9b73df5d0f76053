"""Import a dataset from a source into a workspace's ``data`` folder, all of it or nothing."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.data import quarantine
from m3tr.data.sources import parquet, snapshots
from m3tr.data.sources.base import Loaded
from m3tr.errors import InputError
from m3tr.progress import track

SOURCES = ("parquet", "snapshots")


def import_dataset(
    source: str,
    src: Path,
    dst: Path,
    drop: Sequence[str] = (),
    *,
    target: str = "view",
    force: bool = False,
) -> dict[str, Any]:
    """Write ``dst/data/{videos,feedback,rejected}.parquet`` and the media files that are named.

    Parameters
    ----------
    source : "parquet" or "snapshots"
    src : Path
        Folder of the source's tables; `media` is relative to it.
    dst : Path
        The workspace.
    drop : sequence of str
        Columns of the videos table to leave out, such as what is not known at prediction time.
    target : str
        Kind whose counter a video needs (source "snapshots").
    force : bool
        Replace an existing ``dst/data``.

    Returns
    -------
    dict
        Rows kept, rows rejected by reason, feedback kinds, the time span, media copied and missing,
        and the source's own figures.

    Raises
    ------
    InputError
        Unknown source, unusable tables, nothing left after the rejections, or ``dst/data`` exists.
    """
    src, dst = Path(src), Path(dst)
    final = dst / "data"
    if source not in SOURCES:
        raise InputError(f"no source is called {source!r}; use one of {', '.join(SOURCES)}.")
    if not src.is_dir():
        raise InputError(f"{src}: no such folder; name the folder that holds the tables.")
    if final.exists() and not force:
        raise InputError(f"{final}: exists already; name another workspace, or force its renewal.")
    loaded = parquet.load(src, drop) if source == "parquet" else snapshots.load(src, drop, target)
    _refuse_empty(loaded, src)

    dst.mkdir(parents=True, exist_ok=True)
    # beside the target, so that the last step is one rename on one file system
    with tempfile.TemporaryDirectory(prefix=".import-", dir=dst) as scratch:
        fresh = Path(scratch) / "data"
        fresh.mkdir()
        loaded.videos.write_parquet(fresh / "videos.parquet", compression="zstd")
        loaded.feedback.write_parquet(fresh / "feedback.parquet", compression="zstd")
        loaded.rejected.write_parquet(fresh / "rejected.parquet", compression="zstd")
        copied, missing = _copy_media(loaded.videos, src, fresh)
        _swap(fresh, final, Path(scratch) / "old")
    times = loaded.feedback["time"]
    return {
        "source": source,
        "videos": loaded.videos.height,
        "feedback": loaded.feedback.height,
        "kinds": dict(loaded.feedback["kind"].value_counts().sort("kind").iter_rows()),
        "first_feedback": times.min().isoformat(),  # type: ignore[union-attr]
        "last_feedback": times.max().isoformat(),  # type: ignore[union-attr]
        "rejected": quarantine.counts(loaded.rejected),
        "dropped": list(drop),
        "media_copied": copied,
        "media_missing": missing,
        **loaded.figures,
    }


def _swap(fresh: Path, final: Path, old: Path) -> None:
    """Put `fresh` in the place of `final`; if that fails, `final` is what it was."""
    if final.exists():
        os.rename(final, old)
    try:
        os.rename(fresh, final)
    except OSError:
        if old.exists():
            os.rename(old, final)
        raise


def _refuse_empty(loaded: Loaded, src: Path) -> None:
    for name, table in (("videos", loaded.videos), ("feedback", loaded.feedback)):
        if not table.is_empty():
            continue
        bad = loaded.rejected.sort("row")
        why = "every counter is zero"
        if not bad.is_empty():
            first = bad.row(0, named=True)
            why = (
                f"row {first['row']} of {first['table']}.parquet: {first['reason']}; "
                f"remedy: {first['remedy']}"
            )
        raise InputError(f"{src}: no usable row is left for the {name} table ({why}).")


def _copy_media(videos: pl.DataFrame, src: Path, fresh: Path) -> tuple[int, int]:
    """Copy the named files; links would let a later change of the copy reach the user's file."""
    if "media" not in videos.columns:
        return 0, 0
    names = videos["media"].drop_nulls().unique().sort().to_list()
    copied = 0
    for name in track(names, "copying media"):
        if (src / name).is_file():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(src / name, fresh / name)
            copied += 1
    return copied, len(names) - copied
