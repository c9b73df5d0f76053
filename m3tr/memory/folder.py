"""A bank on disk: folders of segments, and a manifest that says which of them count.

A segment is written in full before the manifest names it, and the manifest is replaced at once: a
reader sees the bank before or after an append, never between, and a writer that is killed leaves
at most a folder that nobody reads and the next writer removes.
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
            return manifest, _open(folder, manifest)
        except (OSError, ValueError, EOFError) as error:
            if Manifest.read(folder).segments == manifest.segments:
                raise InputError(
                    f"{folder} is damaged ({error}): run the stage `bank` to rebuild it"
                ) from None
    raise InputError(f"{folder} is being written all the time: try again")


def write(folder: Path, manifest: Manifest, segments: Sequence[Segment]) -> None:
    """Write a whole bank, in the place of what was there."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    named = [(_name(i), segment) for i, segment in enumerate(segments)]
    for name, segment in named:
        segment.save(partial / name)
    replace(manifest, segments=[_entry(name, s) for name, s in named]).write(partial)
    old = folder.with_name(folder.name + ".old")
    with _locked(folder):  # nobody is appending to what goes
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def append(
    folder: Path,
    make: Callable[[Manifest, tuple[Segment, ...]], Segment | None],
    provenance: Mapping[str, Any] | None = None,
) -> tuple[Manifest, tuple[Segment, ...]]:
    """Add the segment that `make` returns for the bank as it is; the bank as it is then.

    The smallest segments are merged, so that there are never many: a segment is at least twice as
    large as the next.
    """
    with _writing(folder):
        manifest, segments = read(folder)
        for path in folder.glob(PREFIX + "*"):  # of writers that were killed
            if path.name not in {s["name"] for s in manifest.segments}:
                shutil.rmtree(path)
        new = make(manifest, segments)
        if new is None:
            return manifest, segments
        manifest = manifest.told(len(new), provenance)
        kept = list(segments)
        while kept and len(kept[-1]) < 2 * len(new):
            new = merged([kept.pop(), new])
        if manifest.index:
            new = _indexed(new, manifest, segments)
        entries = manifest.segments[: len(kept)]
        dropped = manifest.segments[len(kept) :]
        number = 1 + max(
            (int(s["name"].removeprefix(PREFIX)) for s in manifest.segments), default=-1
        )
        name = _name(number)
        manifest = replace(manifest, segments=[*entries, _entry(name, new)])
        try:
            new.save(folder / name)
            _sync(*(folder / name).iterdir(), folder / name, folder)
            manifest.write(folder)
        except OSError as error:
            shutil.rmtree(folder / name, ignore_errors=True)
            raise InputError(
                f"nothing was appended to {folder} ({error}): make room for it, or the folder "
                "writable, and append again"
            ) from error
        _sync(folder)
        for entry in dropped:
            shutil.rmtree(folder / entry["name"])
        return manifest, (*kept, Segment.open(folder / name, manifest.younger))


def _indexed(new: Segment, manifest: Manifest, segments: Sequence[Segment]) -> Segment:
    """With an index where the segment is large, trained as that of the largest one was."""
    from m3tr.memory.approximate.building import indexed
    from m3tr.memory.approximate.settings import IndexSettings

    largest = max(segments, key=len)
    return indexed(new, manifest, IndexSettings(**manifest.index), like=largest.index)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """One writer at a time; the others wait. A killed one holds nothing."""
    while True:
        Manifest.read(folder)
        with _locked(folder) as there:
            if there():  # and not replaced by a new bank while we waited
                yield
                return


@contextmanager
def _locked(folder: Path) -> Iterator[Callable[[], bool]]:
    """Hold the lock of a folder, if there is one; whether it still lies there."""
    if not folder.is_dir():
        yield lambda: False
        return
    with open(folder / LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        own = os.fstat(file.fileno())
        yield lambda: (folder / LOCK).exists() and os.path.samestat(own, (folder / LOCK).stat())


def _open(folder: Path, manifest: Manifest) -> tuple[Segment, ...]:
    return tuple(Segment.open(folder / s["name"], manifest.younger) for s in manifest.segments)


def _sync(*paths: Path) -> None:
    """Make files, and the names in folders, last through a loss of power."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _name(number: int) -> str:
    return f"{PREFIX}{number:06d}"


def _entry(name: str, segment: Segment) -> dict[str, object]:
    return {"name": name, "items": len(segment)}
