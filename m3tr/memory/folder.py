"""A bank on disk: folders of segments, and a manifest that says which of them count.

A segment is written in full before the manifest names it, and the manifest is replaced at once: a
reader sees the bank before or after an append or a rebuild, never between, and a writer that is
killed leaves at most a folder that nobody reads and the next writer removes.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from m3tr.errors import InputError
from m3tr.memory.manifest import Manifest
from m3tr.memory.segment import Segment, merged

PREFIX = "segment-"
LOCK = ".lock"
TRIES = 100  # a reader may meet so many appends that remove what it was about to open


def read(folder: Path) -> tuple[Manifest, tuple[Segment, ...]]:
    """The bank in `folder`, memory-mapped; InputError where there is none or it is damaged."""
    for _ in range(TRIES):
        manifest = Manifest.read(folder)
        try:
            segments = tuple(_open(folder, manifest))
        # a file that is gone, cut or another's is told by each library in its own way
        except (OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError) as error:
            if Manifest.read(folder) == manifest:
                raise InputError(
                    f"{folder} is damaged ({error}): run the stage `bank` to rebuild it"
                ) from None
        else:
            if Manifest.read(folder) == manifest:
                return manifest, segments
    raise InputError(f"{folder} is being written all the time: try again")


def write(folder: Path, manifest: Manifest, segments: Sequence[Segment]) -> None:
    """Write a whole bank, in the place of what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    with _writing(folder):
        _write(folder, manifest, [], segments)


def append(
    folder: Path,
    make: Callable[[Manifest, tuple[Segment, ...]], Segment | None],
    provenance: Mapping[str, Any] | None = None,
) -> tuple[Manifest, tuple[Segment, ...]]:
    """Add the segment that `make` returns for the bank as it is; the bank as it is then.

    The smallest segments are merged, so that there are never many: a segment is at least twice as
    large as the next.
    """
    Manifest.read(folder)  # nothing is made of a folder that holds no bank
    with _writing(folder):
        manifest, segments = read(folder)
        new = make(manifest, segments)
        if new is None:
            return manifest, segments
        told, kept = manifest.told(len(new), provenance), list(segments)
        while kept and len(kept[-1]) < 2 * len(new):
            new = merged([kept.pop(), new])
        if manifest.index:
            new = _indexed(new, manifest, segments)
        names = _write(folder, told, manifest.segments[: len(kept)], [new])
        return Manifest.read(folder), (*kept, Segment.open(folder / names[0], manifest.younger))


def _write(
    folder: Path,
    manifest: Manifest,
    kept: Sequence[Mapping[str, Any]],
    new: Sequence[Segment],
) -> list[str]:
    """Write new segments, let the manifest name the kept ones and these, remove all others."""
    there = {path.name for path in folder.glob(PREFIX + "*")}
    # names are never used twice, or a reader could take one bank's segment for another's
    first = 1 + max((int(name.removeprefix(PREFIX)) for name in there), default=-1)
    names = [f"{PREFIX}{first + i:06d}" for i in range(len(new))]
    entries = [{"name": n, "items": len(s)} for n, s in zip(names, new, strict=True)]
    try:
        for name, segment in zip(names, new, strict=True):
            segment.save(folder / name)
            _sync(*(folder / name).iterdir(), folder / name)
        _sync(folder)
        replace(manifest, segments=[*map(dict, kept), *entries]).write(folder)
    except (OSError, RuntimeError) as error:  # the index speaks of a full disk in its own way
        for name in names:
            shutil.rmtree(folder / name, ignore_errors=True)
        raise InputError(
            f"nothing was written to {folder} ({error}): make room for it, or the folder writable, "
            "and try again"
        ) from error
    _sync(folder)
    for name in there - {entry["name"] for entry in kept}:
        shutil.rmtree(folder / name)
    return names


def _indexed(new: Segment, manifest: Manifest, segments: Sequence[Segment]) -> Segment:
    """With an index where the segment is large, trained as that of the largest one was."""
    from m3tr.memory.approximate.building import indexed
    from m3tr.memory.approximate.settings import IndexSettings

    largest = max(segments, key=len)
    try:
        return indexed(new, manifest, IndexSettings(**manifest.index), like=largest.index)
    except InputError:  # no index fits the memory that it may take: every row is scanned
        return new


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """One writer at a time; the others wait. A killed one holds nothing."""
    with open(folder / LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(folder: Path, manifest: Manifest) -> Iterator[Segment]:
    return (Segment.open(folder / s["name"], manifest.younger) for s in manifest.segments)


def _sync(*paths: Path) -> None:
    """Make files, and the names in folders, last through a loss of power."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
