"""Which items are the same video as another: looked up in sorted arrays, not by reading names.

Every item has up to three marks: its id, its creator and title, its media path
(`m3tr.data.duplicates`). Items that share a mark are one group, closed transitively within the
bank; an item that joins two groups leaves a note that they are one.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from m3tr.data.duplicates import likenesses

MARKS = 3  # of an item: its id, its creator and title, its media path
NONE = np.uint64(0)


@dataclass(frozen=True)
class Identity:
    """Marks and groups of a segment's N items.

    Attributes
    ----------
    mark, row : ndarray of uint64 and int64, shape (M,)
        All marks, ascending, and the item that each belongs to.
    group, member : ndarray of uint64 and int64, shape (N,)
        The items' groups, and the items in the order of their groups.
    joined : ndarray of uint64, shape (J, 2)
        Groups, here or in an earlier segment, that are one.
    """

    mark: np.ndarray
    row: np.ndarray
    group: np.ndarray
    member: np.ndarray
    joined: np.ndarray

    @classmethod
    def make(cls, marks: np.ndarray, group: np.ndarray, joined: np.ndarray) -> "Identity":
        """From the items' `marks` (N, 3) and `group` (N,)."""
        row, column = np.nonzero(marks)
        mark = marks[row, column]
        by_mark = np.argsort(mark, kind="stable")
        return cls(mark[by_mark], row[by_mark], group, np.argsort(group, kind="stable"), joined)

    def carrying(self, marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (i, row): the item `row` carries `marks[i]`."""
        return _matches(self.mark, self.row, marks)

    def members(self, group: np.uint64) -> np.ndarray:
        """Items of a group."""
        first, last = (
            np.searchsorted(self.group, group, side, sorter=self.member)
            for side in ("left", "right")
        )
        return self.member[first:last]


class Identities:
    """The items of all segments, numbered through."""

    def __init__(self, segments: Sequence[Identity]) -> None:
        self._segments = segments
        sizes = [len(s.member) for s in segments]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._class = _closure(pair for s in segments for pair in s.joined)

    def alike(self, videos: pl.DataFrame) -> list[np.ndarray]:
        """Per video the items that are itself or a near-duplicate, ascending.

        Parameters
        ----------
        videos : DataFrame
            `video_id`; `title`, `creator_id`, `media` where there are any. What other videos of
            the table are alike to plays no part.
        """
        groups: list[set[np.uint64]] = [set() for _ in range(videos.height)]
        for video, group in self._touched(marks(videos)):
            groups[video].add(group)
        nothing = np.empty(0, np.int64)
        known: dict[np.uint64, np.ndarray] = {}
        out = []
        for mine in groups:
            parts = [known.setdefault(g, self._members(g)) for g in mine]
            out.append(np.unique(np.concatenate(parts)) if parts else nothing)
        return out

    def contains(self, videos: pl.DataFrame) -> np.ndarray:
        """Whether each video's id is that of an item, shape (N,)."""
        own = digests(videos["video_id"], 0)
        there = np.zeros(videos.height, bool)
        for segment in self._segments:
            there[segment.carrying(own)[0]] = True
        return there

    def extended(self, videos: pl.DataFrame) -> Identity:
        """Marks and groups of new items, joined to the groups of those that are here."""
        own = marks(videos)
        n = len(own)
        touched = list(self._touched(own))
        old = np.array(sorted({group for _, group in touched}), np.uint64)
        row, column = np.nonzero(own)
        distinct, mark = np.unique(own[row, column], return_inverse=True)
        # nodes: items, marks, old groups
        one = np.concatenate([row, np.array([v for v, _ in touched], np.int64)])
        place = np.searchsorted(old, np.array([g for _, g in touched], np.uint64))
        two = np.concatenate([n + mark, n + len(distinct) + place])
        size = n + len(distinct) + len(old)
        graph = coo_array((np.ones(len(one)), (one, two)), shape=(size, size))
        count, label = connected_components(graph, directed=False)
        # a new group has the least of its marks for a name, an old one keeps its own
        name = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(name, label[n : n + len(distinct)], distinct)
        of_old = label[n + len(distinct) :]
        kept = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(kept, of_old, old)
        name[of_old] = kept[of_old]
        joined = np.column_stack([old, name[of_old]])
        return Identity.make(own, name[label[:n]], joined[joined[:, 0] != joined[:, 1]])

    def _touched(self, own: np.ndarray) -> Iterator[tuple[int, np.uint64]]:
        """Pairs (video, group): an item of the group carries a mark of the video."""
        for segment in self._segments:
            for column in own.T:
                video, row = segment.carrying(column)
                for v, g in zip(video.tolist(), segment.group[row], strict=True):
                    yield v, self._class.get(g, (g,))[0]

    def _members(self, group: np.uint64) -> np.ndarray:
        parts = [
            segment.members(each) + offset
            for each in self._class.get(group, (group,))
            for segment, offset in zip(self._segments, self._offsets[:-1], strict=True)
        ]
        return np.concatenate(parts)


def marks(videos: pl.DataFrame) -> np.ndarray:
    """Marks of videos, shape (N, 3), uint64: id, creator and title, media path; 0 for none."""
    alike = likenesses(videos)
    columns = [videos["video_id"], alike["text"], alike["media"]]
    return np.column_stack([digests(column, c) for c, column in enumerate(columns)])


def digests(texts: pl.Series, kind: int) -> np.ndarray:
    """A number for each text (N,), uint64, another one for each kind of text; 0 for none."""
    out, salt = np.zeros(len(texts), np.uint64), bytes([kind])
    for i, text in enumerate(texts):
        if text is not None:
            digest = hashlib.blake2b(text.encode(), digest_size=8, salt=salt).digest()
            out[i] = int.from_bytes(digest, "little") or 1
    return out


def _matches(
    keys: np.ndarray, rows: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    asked = np.flatnonzero(wanted != NONE)
    first, last = (np.searchsorted(keys, wanted[asked], side) for side in ("left", "right"))
    size = last - first
    steps = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(asked, size), rows[np.repeat(first, size) + steps]


def _closure(pairs: Iterable[np.ndarray]) -> dict[np.uint64, tuple[np.uint64, ...]]:
    """Groups that were joined -> all groups of their class, the least first."""
    of: dict[np.uint64, set[np.uint64]] = {}
    for a, b in pairs:
        both = of.get(a, {a}) | of.get(b, {b})
        for each in both:
            of[each] = both
    return {group: tuple(sorted(both)) for group, both in of.items()}
