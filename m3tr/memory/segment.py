"""A segment: items in the order in which their outcome became known, and never changed again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from m3tr.memory.identity import MARKS, Identity
from m3tr.memory.scan import Pairs, scan
from m3tr.memory.table import Table, concat

if TYPE_CHECKING:
    from m3tr.memory.approximate.index import Index

TABLE, INDEX = "items.parquet", "index.faiss"
IDENTITY = fields(Identity)


@dataclass(frozen=True)
class Segment:
    """N items.

    Attributes
    ----------
    known_at : ndarray of datetime64[us], shape (N,)
        When each outcome became known, ascending.
    keys : ndarray of float32, shape (N, D)
        Trajectory key and content keys, side by side.
    younger : dict of float to ndarray, shapes (N, D_s)
        Trajectory keys as they were at younger ages, days.
    table : Table
        Identity columns and values.
    identity : Identity
    index : Index or None
        An approximate index of `keys`, where there are many.
    """

    known_at: np.ndarray
    keys: np.ndarray
    younger: dict[float, np.ndarray]
    table: Table
    identity: Identity
    index: "Index | None" = None

    def __len__(self) -> int:
        return len(self.known_at)

    @classmethod
    def make(
        cls,
        table: Table,
        keys: np.ndarray,
        younger: Mapping[float, np.ndarray],
        identify: Callable[[pl.DataFrame], Identity],
    ) -> "Segment":
        """A segment of items in any order; `identify` is asked once they are in theirs."""
        frame = table.frame()
        order = np.lexsort((frame["video_id"].to_numpy(), frame["known_at"].to_numpy()))
        ordered = table.select(order)
        return cls(
            ordered.frame()["known_at"].to_numpy().astype("datetime64[us]"),
            np.ascontiguousarray(keys[order], np.float32),
            {age: np.ascontiguousarray(key[order], np.float32) for age, key in younger.items()},
            ordered,
            identify(ordered.frame()),
        )

    def search(
        self,
        query: np.ndarray,
        k: int,
        known_by: np.ndarray | None,
        exclude: Sequence[np.ndarray] | None,
        age: float | None,
        eta: float,
        usual: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items for weighted queries (Q, D): scores and rows, as `scan.scan` gives them.

        With an `age`, the queries' trajectories are compared with what the items' were at it; that
        is always exact. An index is told `eta`, which the queries' weights have in them, and asked
        for the `usual` queries (Q,), whose weights are those that it was tuned for.
        """
        limit = np.full(len(query), len(self))
        if known_by is not None:
            limit = np.searchsorted(self.known_at, known_by, side="right")
        if self.index is None or age is not None:
            return scan(self.pairs(query, age), k, limit, exclude)
        from m3tr.memory.approximate.candidates import search

        return search(self.index, self.pairs(query, None), k, limit, exclude, eta, usual)

    def pairs(self, query: np.ndarray, age: float | None) -> Pairs:
        """Weighted queries beside the keys that they are multiplied with."""
        if age is None:
            return [(query, self.keys)]
        key = self.younger[age]
        split = key.shape[1]
        return [(query[:, :split], key), (query[:, split:], self.keys[:, split:])]

    def save(self, folder: Path) -> None:
        """Write the segment to a new folder."""
        folder.mkdir(parents=True)
        self.table.save(folder / TABLE)
        arrays = {"keys": self.keys, "known_at": self.known_at}
        arrays |= {f"keys@{age:.9g}": key for age, key in self.younger.items()}
        arrays |= {f"identity.{f.name}": getattr(self.identity, f.name) for f in IDENTITY}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        if self.index is not None:
            self.index.save(folder / INDEX)

    @classmethod
    def open(cls, folder: Path, ages: Sequence[float]) -> "Segment":
        """What `save` wrote, memory-mapped, with trajectories at these younger ages."""

        def array(name: str) -> np.ndarray:
            return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

        younger = {age: array(f"keys@{age:.9g}") for age in ages}
        identity = Identity(**{f.name: array(f"identity.{f.name}") for f in IDENTITY})
        index = None
        if (folder / INDEX).exists():
            from m3tr.memory.approximate.index import Index

            index = Index.load(folder / INDEX)
        return cls(
            array("known_at"), array("keys"), younger,
            Table.open(folder / TABLE), identity, index,
        )  # fmt: skip


def merged(segments: Sequence[Segment]) -> Segment:
    """One segment of several, in memory; groups keep their names."""
    marks = [_marks(s.identity, len(s)) for s in segments]
    group = np.concatenate([s.identity.group for s in segments])
    joined = np.concatenate([s.identity.joined for s in segments])
    table = concat(s.table for s in segments)
    frame = table.frame()
    order = np.lexsort((frame["video_id"].to_numpy(), frame["known_at"].to_numpy()))
    identity = Identity.make(np.concatenate(marks)[order], group[order], joined)
    return Segment.make(
        table,
        np.concatenate([s.keys for s in segments]),
        {age: np.concatenate([s.younger[age] for s in segments]) for age in segments[0].younger},
        lambda _: identity,
    )


def _marks(identity: Identity, n: int) -> np.ndarray:
    """Marks by item (n, M), in no particular column; 0 for none."""
    place = np.argsort(identity.row, kind="stable")
    row = identity.row[place]
    column = np.arange(len(row)) - np.searchsorted(row, row)
    out = np.zeros((n, MARKS), np.uint64)
    out[row, column] = identity.mark[place]
    return out
