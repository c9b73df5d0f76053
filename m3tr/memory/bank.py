"""The memory bank: past videos, their keys, and what is remembered of them (docs/retrieval.md).

Notable:
- a bank is a value: its segments are never changed, an append gives a new bank, and whoever holds
  the old one reads on;
- one inner product scores trajectory and content; all weights are in the query, so `eta` and the
  weights of the modalities are arguments of the search;
- items of a segment lie in the order in which their outcome became known, so "known by then" is a
  prefix;
- who is left out is left out before the k best are chosen, so a query always gets its k.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.memory import folder
from m3tr.memory.approximate.settings import IndexSettings
from m3tr.memory.explain import explain
from m3tr.memory.groups import CREATOR, Groups, among
from m3tr.memory.identity import Identities
from m3tr.memory.keys import Keys
from m3tr.memory.manifest import Manifest
from m3tr.memory.neighbours import Neighbours
from m3tr.memory.numbers import Numbers
from m3tr.memory.search import places, search
from m3tr.memory.segment import Segment
from m3tr.memory.table import Table
from m3tr.memory.weighing import joint


@dataclass(frozen=True)
class Bank:
    """Past videos that a query may be shown.

    Attributes
    ----------
    manifest : Manifest
    segments : tuple of Segment
        Positions number their items through.
    folder : Path or None
        Where it was opened.
    """

    manifest: Manifest
    segments: tuple[Segment, ...]
    folder: Path | None = None
    _groups: dict[str, Groups] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def build(
        cls,
        items: pl.DataFrame,
        keys: Keys,
        values: Mapping[str, np.ndarray],
        *,
        eta: float = 0.5,
        weights: Mapping[str, float] | None = None,
        fingerprints: Mapping[str, str] | None = None,
        provenance: Mapping[str, Any] | None = None,
        numbers: Numbers | None = None,
    ) -> "Bank":
        """A bank in memory.

        Parameters
        ----------
        items : DataFrame
            `video_id`, `known_at`, and what else identifies an item (`title`, `creator_id`,
            `media`, the column of its group), one row an item, in any order.
        keys : Keys
            Unit keys of the items.
        values : mapping of str to ndarray
            Anything remembered of the items, first axis in their order.
        numbers : Numbers, optional
            What made the modality `numbers` of the keys, where they have it.
        """
        modalities = sorted(keys.content)
        layout = {"trajectory": keys.trajectory.shape[1]}
        layout |= {m: keys.content[m].shape[1] for m in modalities}
        manifest = Manifest(
            layout, sorted(keys.younger), eta, dict.fromkeys(modalities, 1.0) | dict(weights or {}),
            dict(fingerprints or {}), numbers={} if numbers is None else numbers.state(),
        )  # fmt: skip
        return cls(manifest, ()).append(items, keys, values, provenance)

    @classmethod
    def open(cls, path: Path, fingerprints: Mapping[str, str] | None = None) -> "Bank":
        """The bank in a folder, memory-mapped.

        Raises
        ------
        InputError
            Where `path` holds no bank that this version reads, or one that was made with another
            point process or encoder than `fingerprints` say.
        """
        manifest, segments = folder.read(path)
        manifest.require(fingerprints or {}, path)
        return cls(manifest, segments, path)

    def indexed(self, settings: IndexSettings, queries: Keys | None = None) -> "Bank":
        """The bank, in memory, with an approximate index of each segment that is large enough.

        Parameters
        ----------
        settings : IndexSettings
            Kept in the manifest: segments that appends merge are indexed by them.
        queries : Keys, optional
            Keys of videos that are not in the bank: effort is tuned and recall measured on them.

        Raises
        ------
        InputError
            Where no index that the settings permit fits their memory.
        """
        from m3tr.memory.approximate.building import indexed

        manifest = replace(self.manifest, index=settings.model_dump())
        own = None if queries is None else joint(manifest, queries)
        segments = tuple(indexed(s, manifest, settings, own) for s in self.segments)
        return Bank(manifest, segments)

    def save(self, path: Path) -> None:
        """Write the bank to `path`, in the place of what was there."""
        folder.write(path, self.manifest, self.segments)

    def append(
        self,
        items: pl.DataFrame,
        keys: Keys,
        values: Mapping[str, np.ndarray],
        provenance: Mapping[str, Any] | None = None,
    ) -> "Bank":
        """The bank with more items; those whose id it holds already are left out.

        One that was opened is appended to in its folder, at once and for good: also when another
        has appended to it meanwhile. This value stays as it is. Arguments as of `build`; `values`
        must be those that the bank remembers, `provenance` is kept in the manifest.
        """
        if self.folder is None:
            new = self._segment(items, keys, values)
            if new is None:
                return self
            manifest = self.manifest.told(len(new), provenance)
            return replace(self, manifest=manifest, segments=(*self.segments, new))
        manifest, segments = folder.append(
            self.folder,
            lambda now, there: Bank(now, there)._segment(items, keys, values),
            provenance,
        )
        return Bank(manifest, segments, self.folder)

    def _segment(
        self, items: pl.DataFrame, keys: Keys, values: Mapping[str, np.ndarray]
    ) -> Segment | None:
        """A segment of those items that are not here yet."""
        _require(items, keys, self.manifest.layout["trajectory"])
        fresh = np.flatnonzero(~self.identities.contains(items))
        table, own = Table(items, values), keys.select(fresh)
        if self.segments:
            if not len(fresh):
                return None
            forms = self.segments[0].table.shapes.items() ^ table.shapes.items()
            if forms or sorted(own.younger) != list(self.manifest.younger):
                value = f"value {min(forms)[0]!r}" if forms else "trajectories at younger ages"
                raise InputError(f"the items and the bank do not have the same {value}")
        return Segment.make(
            table.select(fresh), joint(self.manifest, own), own.younger, self.identities.extended
        )

    def with_values(self, values: Mapping[str, np.ndarray]) -> "Bank":
        """The same items, in memory, with more remembered; first axis in the order of positions."""
        segments, start = [], 0
        for s in self.segments:
            own = {name: value[start : start + len(s)] for name, value in values.items()}
            start += len(s)
            kept = {name: s.table.array(name) for name in s.table.shapes}
            segments.append(replace(s, table=Table(s.table.frame(), kept | own)))
        return Bank(self.manifest, tuple(segments))

    def with_weights(
        self, eta: float, weights: Mapping[str, float], learned: Mapping[str, Any]
    ) -> "Bank":
        """The same bank, in memory, with other weights where a search names none.

        Without indexes: they are tuned for the weights.
        """
        told = replace(self.manifest, eta=eta, weights=dict(weights), learned=dict(learned))
        return Bank(told, tuple(replace(s, index=None) for s in self.segments))

    @cached_property
    def numbers(self) -> Numbers | None:
        """What turns the videos' numbers into a modality, where that is one of the bank's."""
        return Numbers.from_state(self.manifest.numbers) if self.manifest.numbers else None

    def __len__(self) -> int:
        return sum(len(s) for s in self.segments)

    @cached_property
    def items(self) -> pl.DataFrame:
        """`video_id`, `known_at` and the other identity columns, by position."""
        return pl.concat([s.table.frame() for s in self.segments], how="diagonal_relaxed")

    @cached_property
    def keys(self) -> Keys:
        """All keys, by position."""
        joint = np.concatenate([s.keys for s in self.segments])
        part = {name: joint[:, columns] for name, columns in self.manifest.slices().items()}
        younger = {
            age: np.concatenate([s.younger[age] for s in self.segments])
            for age in self.manifest.younger
        }
        return Keys(part.pop("trajectory"), part, younger)

    @property
    def remembered(self) -> list[str]:
        """Names of the arrays that are remembered of each item."""
        return list(self.segments[0].table.shapes)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """All that is remembered, whole, by position."""
        return {name: self.value(name) for name in self.remembered}

    def value(self, name: str) -> np.ndarray:
        """One remembered array, whole, by position."""
        parts = [s.table.array(name) for s in self.segments]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def take(self, name: str, positions: np.ndarray) -> np.ndarray:
        """A remembered array at some positions, of any shape; zeros at those below 0."""
        flat = positions.ravel()
        dtype, shape = self.segments[0].table.shapes[name]
        out = np.zeros((len(flat), *shape), dtype)
        for segment, rows, where in places(self.segments, flat):
            out[where] = segment.table.take(name, rows)
        return out.reshape(*positions.shape, *shape)

    def known_at(self, positions: np.ndarray) -> np.ndarray:
        """When the outcomes at some positions, of any shape, became known; NaT below 0."""
        flat = positions.ravel()
        out = np.full(len(flat), "NaT", "datetime64[us]")
        for segment, rows, where in places(self.segments, flat):
            out[where] = segment.known_at[rows]
        return out.reshape(positions.shape)

    def describe(self, positions: np.ndarray) -> pl.DataFrame:
        """The identity columns at some positions (P,), one row each; nulls at those below 0."""
        parts = [self.segments[0].table.frame_of(np.empty(0, np.int64)).with_columns(
            _place=pl.lit(None, pl.Int64)
        )]  # fmt: skip
        parts += [
            segment.table.frame_of(rows).with_columns(_place=pl.Series(where, dtype=pl.Int64))
            for segment, rows, where in places(self.segments, positions)
        ]
        found = pl.concat(parts, how="diagonal_relaxed")
        asked = pl.DataFrame({"_place": np.arange(len(positions))}, {"_place": pl.Int64})
        return asked.join(found, on="_place", how="left", maintain_order="left").drop("_place")

    @cached_property
    def identities(self) -> Identities:
        """Lookup of items that are the same video as another."""
        return Identities([s.identity for s in self.segments])

    def groups(self, column: str = CREATOR) -> Groups:
        """Lookup of the items of a creator, or of another group; kept once it was asked for."""
        if column not in self._groups:
            self._groups[column] = Groups(self.items, column)
        return self._groups[column]

    def alike(self, videos: pl.DataFrame) -> list[np.ndarray]:
        """Per video the positions of itself and its near-duplicates, which it may not be shown."""
        return self.identities.alike(videos)

    def withheld(self, videos: pl.DataFrame, group_by: str | None) -> list[np.ndarray]:
        """Per video the positions it may not be shown, ascending: of `alike`, and of its group.

        Where a split keeps groups whole, a video of another split has none of its own here.
        """
        alike = self.alike(videos)
        if group_by is None:
            return alike
        own = self.groups(group_by).of(videos)
        # a large group is one array for all of its videos
        return [
            o if among(a, o).all() else np.union1d(a, o) for a, o in zip(alike, own, strict=True)
        ]

    def search(
        self,
        queries: Keys,
        k: int = 10,
        eta: float | None = None,
        weights: Mapping[str, float] | None = None,
        known_by: np.ndarray | None = None,
        exclude: Sequence[np.ndarray] | None = None,
        age: np.ndarray | None = None,
    ) -> Neighbours:
        """The k items of highest combined similarity to each query.

        Parameters
        ----------
        queries : Keys
            Unit keys of Q queries.
        k : int
            Neighbours wanted.
        eta : float, optional
            Weight of the trajectory's cosine, the content's has `1 - eta`; without it the bank's.
        weights : mapping of str to float, optional
            Weight of each modality, not negative; those of the modalities that a query has are
            scaled to sum 1. One that is not named has the bank's.
        known_by : ndarray of datetime64[us], shape (Q,) or (), optional
            Only items whose outcome was known by then; without it, all (random splits).
        exclude : sequence of ndarray of int, optional
            Positions that each query is not shown (`withheld`).
        age : ndarray, shape (Q,), optional
            The age, days, at which each trajectory was seen: one of `manifest.younger`, or NaN for
            the task's own.

        Raises
        ------
        InputError
            Where the keys do not fit the bank's, or an argument is out of range.
        """
        return search(
            self.manifest, self.segments, queries, k, eta, weights, known_by, exclude, age
        )

    def explain(self, videos: Sequence[str], found: Neighbours) -> pl.DataFrame:
        """Why each query was shown what: one row a neighbour (`m3tr.memory.explain`).

        `videos` are the queries' ids, `found` what a search of this bank returned for them.
        """
        return explain(self, videos, found)


def _require(items: pl.DataFrame, keys: Keys, width: int) -> None:
    """InputError where these are no items with their keys; `width` is that of a trajectory."""
    for column in ("video_id", "known_at"):
        if column not in items.columns or items[column].null_count():
            raise InputError(f"an item has no {column}: give it one or leave it out")
    if items["video_id"].is_duplicated().any():
        twice = items.filter(pl.col("video_id").is_duplicated())["video_id"][0]
        raise InputError(f"video {twice} is twice among the items: leave one out")
    parts = [keys.trajectory, *keys.content.values(), *keys.younger.values()]
    other = next((len(key) for key in parts if len(key) != items.height), None)
    if other is not None:
        raise InputError(f"there are keys of {other} videos, but {items.height} items")
    for age, key in keys.younger.items():
        if key.shape[1] != width:
            raise InputError(
                f"trajectory keys at the age of {age} days have {key.shape[1]} dimensions, those "
                f"of the bank {width}: make them with what made the bank's"
            )
