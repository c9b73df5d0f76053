"""Import a dataset from a source into a workspace's ``data`` folder, all of it or nothing."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.data import quarantine, totals
from m3tr.data.sources import microlens, own, parquet, snapshots
from m3tr.data.sources.base import Loaded
from m3tr.errors import InputError
from m3tr.progress import track

SOURCES = ("parquet", "snapshots", "own-data", "microlens")
SCRATCH = ".import-"


def import_dataset(
    source: str,
    src: Path,
    dst: Path,
    drop: Sequence[str] = (),
    *,
    target: str = "view",
    force: bool = False,
    link: bool = False,
) -> dict[str, Any]:
    """Write ``dst/data/{videos,feedback,rejected}.parquet`` and the media files that are named.

    Parameters
    ----------
    source : "parquet", "snapshots", "own-data" or "microlens"
    src : Path
        Folder of the source's tables; `media` is relative to it.
    dst : Path
        The workspace.
    drop : sequence of str
        Columns of the videos table to leave out, such as what is not known at prediction time.
    target : str
        Kind whose counter a video needs (sources of snapshots).
    force : bool
        Replace an existing ``dst/data``.
    link : bool
        Hard links instead of copies of the media files where one file system holds both: no time
        and no space, but a file that is later changed in place is changed on both sides.

    Returns
    -------
    dict
        Rows kept, rows rejected by reason, feedback kinds, the time span, media copied and missing,
        and the source's own figures.

    Raises
    ------
    InputError
        Unknown source, unusable tables, a column of totals, nothing left after the rejections,
        ``dst/data`` exists, or another import writes there.
    """
    src, dst = Path(src), Path(dst)
    final = dst / "data"
    if source not in SOURCES:
        raise InputError(f"no source is called {source!r}; use one of {', '.join(SOURCES)}.")
    if not src.is_dir():
        raise InputError(f"{src}: no such folder; name the folder that holds the tables.")
    if source == "own-data" and dst.resolve().is_relative_to(src.resolve()):
        raise InputError(
            f"{dst}: the workspace lies in the folder of the media, and its copies would be taken "
            "for media too; name a workspace outside."
        )
    _refuse_existing(final, force)
    loaded = _load(source, src, drop, target)
    _refuse_empty(loaded, src)
    totals.refuse(loaded.videos, loaded.feedback["kind"].unique(), src)

    # beside the target, so that the last step is one rename on one file system; an import that
    # was interrupted finds its media files there again
    name = hashlib.sha256(f"{source} {src.resolve()} {link}".encode()).hexdigest()[:8]
    scratch = dst / f"{SCRATCH}{name}"
    fresh = scratch / "data"
    dst.mkdir(parents=True, exist_ok=True)
    with _alone(dst):
        _refuse_existing(final, force)  # another import may just have ended
        fresh.mkdir(parents=True, exist_ok=True)
        media = _bring_media(loaded.videos, src, fresh, link)
        for table in ("videos", "feedback", "rejected"):
            # a link under this name would lead the writing into the user's file
            (fresh / f"{table}.parquet").unlink(missing_ok=True)
        loaded.videos.write_parquet(fresh / "videos.parquet", compression="zstd")
        loaded.feedback.write_parquet(fresh / "feedback.parquet", compression="zstd")
        loaded.rejected.write_parquet(fresh / "rejected.parquet", compression="zstd")
        _swap(fresh, final, scratch / "old")
        for left in dst.glob(f"{SCRATCH}*"):
            shutil.rmtree(left)
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
        **media,
        **loaded.figures,
    }


def _refuse_existing(final: Path, force: bool) -> None:
    if final.exists() and not force:
        raise InputError(f"{final}: exists already; name another workspace, or use --force.")


@contextmanager
def _alone(dst: Path) -> Iterator[None]:
    """No other import into this workspace meanwhile: each removes what others left behind."""
    folder = os.open(dst, os.O_RDONLY)  # the lock needs no file, and ends with the process
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise InputError(
            f"{dst}: another import is writing into this workspace; wait until it has ended."
        ) from None
    except OSError:
        pass  # a file system without locks on folders
    try:
        yield
    finally:
        os.close(folder)


def _load(source: str, src: Path, drop: Sequence[str], target: str) -> Loaded:
    if source == "parquet":
        return parquet.load(src, drop)
    if source == "snapshots":
        return snapshots.load(src, drop, target)
    if source == "own-data":
        return own.load(src, drop, target)
    return microlens.load(src, drop)


def _swap(fresh: Path, final: Path, old: Path) -> None:
    """Put `fresh` in the place of `final`; if that fails, `final` is what it was."""
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
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
        # a fault of the tables themselves says more than one of a file beside them
        main = pl.col("table").is_in(["videos", "feedback", "snapshots"])
        bad = loaded.rejected.sort(main, "row", descending=[True, False])
        why = "every counter is zero"
        if not bad.is_empty():
            first = bad.row(0, named=True)
            why = (
                f"row {first['row']} of "
                f"{loaded.files.get(first['table'], first['table'] + '.parquet')}: "
                f"{first['reason']}; "
                f"remedy: {first['remedy']}"
            )
        raise InputError(f"{src}: no usable row is left for the {name} table ({why}).")


def _bring_media(videos: pl.DataFrame, src: Path, fresh: Path, link: bool) -> dict[str, int]:
    """Copy (or link) the named files; what is there already from an interrupted import stays.

    By default no links: a later change of the copy would reach the user's file.
    """
    named = "media" in videos.columns
    names = videos["media"].drop_nulls().unique().sort().to_list() if named else []
    _remove_strays(fresh, set(names))
    copied = linked = 0
    for name in track(names, "linking media" if link else "copying media"):
        here, there = src / name, fresh / name
        if not here.is_file():
            there.unlink(missing_ok=True)
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        if link and _linked(here, there, fresh.parent / "link"):
            linked += 1
            continue
        if not _same(here, there):
            there.unlink(missing_ok=True)  # it may be read-only
            shutil.copy2(here, there)
        copied += 1
    figures = {"media_copied": copied, "media_missing": len(names) - copied - linked}
    return figures | ({"media_linked": linked} if link else {})


def _linked(here: Path, there: Path, scratch: Path) -> bool:
    """A copy that is there already goes only when the link is made."""
    scratch.unlink(missing_ok=True)
    try:
        os.link(here.resolve(), scratch)
    except OSError:  # another file system, or one without links
        return False
    os.replace(scratch, there)
    scratch.unlink(missing_ok=True)  # of two links to one file, the renaming keeps both
    return True


def _same(here: Path, there: Path) -> bool:
    """Whether a whole copy is there: `copy2` sets the time last."""
    if not there.is_file():
        return False
    a, b = here.stat(), there.stat()
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _remove_strays(fresh: Path, names: set[str]) -> None:
    for path in list(fresh.rglob("*")):
        if not path.is_dir() and path.relative_to(fresh).as_posix() not in names:
            path.unlink()
