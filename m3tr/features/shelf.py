"""Tokens of one encoder by content, in parquet shards that survive a kill.

A shelf is a folder of `shard-*.parquet` files (`key`, `values`, `length`, `dimension`, `pixels`,
`seconds`). A shard appears under its name only when it is complete and is never changed, so that a
kill costs the last second of work, or a hundredth of it, and any number of processes may write to
one shelf: at worst they do the same work twice.
"""

import os
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

FLUSH_ROWS, FLUSH_SECONDS, FLUSH_SHARE = 1_024, 1.0, 0.01
FULL_BYTES = 4_000_000  # small shards are merged up to this size
MANY_SHARDS = 16  # so many small ones are merged
OPEN_SHARDS = 2  # held in memory while reading
STALE_SECONDS = 3_600.0
LOOKS = 20  # at a folder that others change meanwhile

SCHEMA: dict[str, Any] = {
    "key": pl.Binary,
    "values": pl.List(pl.Float32),
    "length": pl.Int32,
    "dimension": pl.Int32,
    "pixels": pl.Int64,
    "seconds": pl.Float64,
}


@dataclass(frozen=True)
class Entry:
    """What is known of one content.

    Attributes
    ----------
    tokens : ndarray (T, D) float32
        T = 0 where the content lacks the modality.
    pixels : int
        Of its largest picture; limits are judged again when an entry is used.
    seconds : float
        Length of the medium.
    """

    tokens: np.ndarray
    pixels: int = 0
    seconds: float = 0.0


INDEX = ("key", "dimension", "length", "pixels", "seconds")


class Shelf:
    """Entries of one modality and encoder.

    Parameters
    ----------
    folder : Path or None
        Made when needed; None keeps everything in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._shards: list[Path] = []
        self._known: dict[bytes, tuple[int, int]] = {}  # key -> shard, row
        self._facts: dict[bytes, tuple[int, int, float]] = {}  # key -> T, pixels, seconds
        self._pending: dict[bytes, Entry] = {}
        self._open: OrderedDict[int, pl.DataFrame] = OrderedDict()
        self._opened = self._flushed = time.monotonic()
        self._dimension = 0
        self._look()

    def __contains__(self, key: bytes) -> bool:
        return key in self._facts

    def facts(self, key: bytes) -> tuple[int, float]:
        """`pixels` and `seconds` of an entry."""
        return self._facts[key][1:]

    def shape(self, keys: Iterable[bytes]) -> tuple[int, int]:
        """(largest T, D) over the entries of `keys`; (0, 0) where none has tokens."""
        longest = max((self._facts[key][0] for key in keys if key in self._facts), default=0)
        return (longest, self._dimension) if longest else (0, 0)

    def add(self, key: bytes, entry: Entry) -> None:
        """Keep an entry; on disk soon, or after `flush`."""
        self._pending[key] = entry
        self._facts[key] = (len(entry.tokens), entry.pixels, entry.seconds)
        if len(entry.tokens):
            self._dimension = entry.tokens.shape[1]
        if self.folder is None:
            return
        now = time.monotonic()
        # a long run writes fewer, larger shards
        due = now - self._flushed >= max(FLUSH_SECONDS, FLUSH_SHARE * (now - self._opened))
        if due or len(self._pending) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard."""
        self._flushed = time.monotonic()
        if self.folder is None or not self._pending:
            return
        keys = list(self._pending)
        path = _write(self.folder, _frame(self._pending))
        self._shards.append(path)
        self._known |= {key: (len(self._shards) - 1, row) for row, key in enumerate(keys)}
        self._pending = {}

    def close(self) -> None:
        """Flush, and merge small shards where there are many."""
        self.flush()
        if self.folder is not None:
            _merge(self.folder)

    def take(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Entries of `keys`, which must be there; fastest where neighbours were added together.

        Raises
        ------
        KeyError
            An entry is not there, or was lost with a file that someone removed.
        """
        found = {key: self._pending[key] for key in keys if key in self._pending}
        wanted: dict[int, list[bytes]] = {}
        for key in set(keys) - set(found):
            wanted.setdefault(self._known[key][0], []).append(key)
        for shard in sorted(wanted):
            frame = self._shard(shard)
            if frame is None:  # merged by another process since we looked
                self._look()
                return found | self.take([key for key in keys if key not in found])
            rows = [self._known[key][1] for key in wanted[shard]]
            part = frame[rows]
            for key, values, dimension, pixels, seconds in zip(
                wanted[shard], part["values"], part["dimension"], part["pixels"], part["seconds"],
                strict=True,
            ):  # fmt: skip
                tokens = values.to_numpy().reshape(-1, dimension) if dimension else _nothing()
                found[key] = Entry(tokens, pixels, seconds)
        return found

    def _look(self) -> None:
        """Index the shards on disk; those that cannot be read count as absent."""
        for _ in range(LOOKS):
            paths = self._paths()
            # a folder is not listed at one moment: a merge may hide both the old and the new
            if self._index(paths) and self._paths() == paths:
                break
        for key, entry in self._pending.items():
            self._facts[key] = (len(entry.tokens), entry.pixels, entry.seconds)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("shard-*.parquet")) if self.folder else []

    def _index(self, paths: Sequence[Path]) -> bool:
        """Enter the keys of all shards; False where another process merged one meanwhile."""
        self._shards, self._known, self._facts = [], {}, {}
        self._open.clear()
        for path in paths:
            try:
                index = pl.scan_parquet(path, glob=False).select(INDEX).collect()
            except FileNotFoundError:
                return False
            except pl.exceptions.PolarsError:
                continue
            shard = len(self._shards)
            self._shards.append(path)
            for row, (key, dimension, *facts) in enumerate(index.iter_rows()):
                self._known[key] = (shard, row)
                self._facts[key] = tuple(facts)
                self._dimension = dimension or self._dimension
        return True

    def _shard(self, number: int) -> pl.DataFrame | None:
        if number not in self._open:
            try:
                self._open[number] = pl.read_parquet(self._shards[number], glob=False)
            except FileNotFoundError:
                return None
            except pl.exceptions.PolarsError:
                self._shards[number].unlink(missing_ok=True)  # damaged: its work is done again
                return None
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]


def _nothing() -> np.ndarray:
    return np.zeros((0, 0), np.float32)


def _frame(entries: dict[bytes, Entry]) -> pl.DataFrame:
    columns = {
        "key": list(entries),
        "values": [np.ravel(entry.tokens) for entry in entries.values()],
        "length": [len(entry.tokens) for entry in entries.values()],
        "dimension": [entry.tokens.shape[1] for entry in entries.values()],
        "pixels": [entry.pixels for entry in entries.values()],
        "seconds": [entry.seconds for entry in entries.values()],
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def _write(folder: Path, frame: pl.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    # names ascend with time, so that the order of reading is that of writing
    name = f"shard-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
    temporary = folder / f".{name}"
    frame.write_parquet(temporary, compression="lz4")
    os.replace(temporary, folder / name)
    return folder / name


def _merge(folder: Path) -> None:
    """Write many small shards as few; the old ones go only after the new one is there."""
    for left in folder.glob(".shard-*"):  # by a process that was killed
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
    small: list[tuple[Path, int]] = []
    numbers = (pl.col("length") * pl.col("dimension")).cast(pl.Int64).sum()
    for path in sorted(folder.glob("shard-*.parquet")):
        with suppress(OSError, pl.exceptions.PolarsError):
            # in memory: equal tokens take next to nothing on disk
            size = 4 * pl.scan_parquet(path, glob=False).select(numbers).collect().item()
            if size < FULL_BYTES // 2:
                small.append((path, size))
    if len(small) < MANY_SHARDS:
        return
    groups: list[list[Path]] = [[]]
    total = 0
    for path, size in small:
        if total + size > FULL_BYTES:
            groups.append([])
            total = 0
        groups[-1].append(path)
        total += size
    for group in groups:
        try:
            frames = [pl.read_parquet(path, glob=False) for path in group]
        except (OSError, pl.exceptions.PolarsError):
            continue  # another process merges them, or one is damaged
        _write(folder, pl.concat(frames).unique("key", keep="last", maintain_order=True))
        for path in group:
            path.unlink(missing_ok=True)
