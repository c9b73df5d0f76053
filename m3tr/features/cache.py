"""What extraction has done before: digests of files, and a shelf of tokens for each encoder."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.features.shelf import Shelf
from m3tr.progress import track

SETTLED_NS = 2_000_000_000  # a file younger than this may change within one tick of its clock
SAVE_SECONDS = 30.0
DIGESTS = "digests.parquet"
SCHEMA: dict[str, Any] = {
    "path": pl.Binary,  # a name need not be text
    "inode": pl.Int64,
    "size": pl.Int64,
    "modified": pl.Int64,
    "changed": pl.Int64,
    "digest": pl.Binary,
}
Stamp = tuple[int, int, int, int]


class Cache:
    """Shelves by modality, and digests of files that did not change since.

    Parameters
    ----------
    folder : Path or None
        May be shared by datasets and by processes that run at the same time; None keeps everything
        in memory.
    fingerprints : mapping
        Modality -> digest of its encoder and settings (`m3tr.features.encoders.fingerprints`).
    """

    def __init__(self, folder: Path | None, fingerprints: Mapping[str, str]) -> None:
        self.folder = folder
        self.shelves = {
            m: Shelf(folder / f"{m}-{fingerprint[:16]}" if folder is not None else None)
            for m, fingerprint in fingerprints.items()
        }

    def close(self) -> None:
        """Write what is pending."""
        for shelf in self.shelves.values():
            shelf.close()

    def digests(self, paths: list[Path], threads: int) -> Iterator[tuple[Path, bytes | OSError]]:
        """SHA-256 of each file's bytes, or why it cannot be read; unchanged files are not read.

        A file is taken for unchanged while its inode, size and both its times are the same.
        """
        known = self._read()
        fresh: dict[bytes, tuple[Stamp, bytes]] = {}
        saved = time.monotonic()
        todo: list[Path] = []
        for path in paths:
            name, stamp = os.fsencode(path), _stamp(path)
            if stamp is not None and name in known and known[name][0] == stamp:
                yield path, known[name][1]
            else:
                todo.append(path)
        if not todo:
            return
        pool = ThreadPoolExecutor(threads)
        found = track(_ahead(pool, todo, 2 * threads), "reading files", total=len(todo))
        try:
            for path, (stamp, digest) in zip(todo, found, strict=True):
                if stamp is not None and isinstance(digest, bytes):
                    fresh[os.fsencode(path)] = (stamp, digest)
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save(known | fresh)
                    saved = time.monotonic()
                yield path, digest
        finally:  # an interrupt keeps what was read
            pool.shutdown(cancel_futures=True)
            self._save(known | fresh)

    def _read(self) -> dict[bytes, tuple[Stamp, bytes]]:
        if self.folder is None:
            return {}
        try:
            frame = pl.read_parquet(self.folder / DIGESTS, glob=False).select(*SCHEMA)
        except (OSError, pl.exceptions.PolarsError):
            return {}
        return {row[0]: (row[1:5], row[5]) for row in frame.iter_rows()}

    def _save(self, known: dict[bytes, tuple[Stamp, bytes]]) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [(name, *stamp, digest) for name, (stamp, digest) in known.items()]
        # the last writer wins: what another process adds meanwhile is only read again
        temporary = self.folder / f".{DIGESTS}.{os.getpid()}"
        pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(temporary)
        os.replace(temporary, self.folder / DIGESTS)


def text_key(text: str) -> bytes:
    """Digest of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(path: Path) -> tuple[Stamp | None, bytes | OSError]:
    before = _stamp(path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return None, error
    settled = before is not None and time.time_ns() - max(before[2:]) > SETTLED_NS
    return (before if settled and _stamp(path) == before else None), digest


def _ahead(
    pool: ThreadPoolExecutor, paths: Iterable[Path], ahead: int
) -> Iterator[tuple[Stamp | None, bytes | OSError]]:
    """`map` with a bounded number of files under way."""
    waiting = []
    for path in paths:
        waiting.append(pool.submit(_digest, path))
        if len(waiting) > ahead:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
