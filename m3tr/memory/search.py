"""The search over several segments, whose items positions number through."""

from collections.abc import Iterator, Sequence

import numpy as np

from m3tr.memory.keys import Keys
from m3tr.memory.manifest import Manifest
from m3tr.memory.segment import Segment
from m3tr.memory.weighing import joint

CHUNK = 1_024  # queries whose neighbours' keys are gathered at a time


def places(
    segments: Sequence[Segment], positions: np.ndarray
) -> Iterator[tuple[Segment, np.ndarray, np.ndarray]]:
    """Each segment that holds some of the positions (P,), the rows in it, and which they are."""
    start = 0
    for segment in segments:
        where = np.flatnonzero((positions >= start) & (positions < start + len(segment)))
        if len(where):
            yield segment, positions[where] - start, where
        start += len(segment)


def best(
    segments: Sequence[Segment],
    weighted: np.ndarray,
    k: int,
    known_by: np.ndarray | None,
    exclude: Sequence[np.ndarray] | None,
    age: float | None,
    eta: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (-1: none) and scores (Q, k) of the best; among equals the later known first.

    The answer is that of a bank whose items all lie in one segment.
    """
    position, score, recent, start = [], [], [], 0
    for segment in segments:
        inside = exclude
        if exclude is not None and len(segments) > 1:
            stop = start + len(segment)
            inside = [e[(e >= start) & (e < stop)] - start for e in exclude]
        value, row = segment.search(weighted, k, known_by, inside, age, eta)
        position.append(np.where(row >= 0, row + start, -1))
        score.append(np.where(row >= 0, value, -np.inf))
        known_at = segment.known_at if len(segment) else np.zeros(1, "datetime64[us]")
        recent.append(known_at[np.maximum(row, 0)].astype(np.int64))
        start += len(segment)
    if len(segments) == 1:
        return position[0], np.where(position[0] >= 0, score[0], 0.0)
    place, value = np.hstack(position), np.hstack(score)
    known = np.hstack(recent)
    later = _by_name(segments, place, value, known)
    order = np.lexsort((-place, -later, -known, -value), axis=1)[:, :k]
    index = np.take_along_axis(place, order, 1)
    return index, np.where(index >= 0, np.take_along_axis(value, order, 1), 0.0)


def _by_name(
    segments: Sequence[Segment], place: np.ndarray, value: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Ranks (Q, C) by video id of candidates with one score and `known_at`, as in one segment."""
    rank = np.zeros(place.shape, np.int64)
    order = np.lexsort((known, value), axis=1)
    v, t, p = (np.take_along_axis(each, order, 1) for each in (value, known, place))
    equal = (v[:, 1:] == v[:, :-1]) & (t[:, 1:] == t[:, :-1]) & (p[:, 1:] >= 0) & (p[:, :-1] >= 0)
    for q in np.flatnonzero(equal.any(1)).tolist():
        there = np.flatnonzero(place[q] >= 0)
        ids = np.empty(len(there), object)
        for segment, rows, where in places(segments, place[q, there]):
            ids[where] = segment.table.frame_of(rows)["video_id"].to_numpy()
        rank[q, there] = np.unique(ids, return_inverse=True)[1]
    return rank


def cosines(
    segments: Sequence[Segment],
    manifest: Manifest,
    queries: Keys,
    index: np.ndarray,
    age: float | None,
) -> dict[str, np.ndarray]:
    """The cosine of each part of the key, (Q, k); 0 where `index` is -1."""
    own, columns = joint(manifest, queries), manifest.slices()
    out = {part: np.zeros(index.shape) for part in columns}
    for start in range(0, len(index), CHUNK):
        rows = slice(start, start + CHUNK)
        keys = _keys_at(segments, index[rows], own.shape[1], age)
        for part, place in columns.items():
            cosine = np.einsum("qd,qkd->qk", own[rows, place], keys[:, :, place])
            out[part][rows] = np.where(index[rows] >= 0, cosine, 0.0)
    return out


def _keys_at(
    segments: Sequence[Segment], positions: np.ndarray, width: int, age: float | None
) -> np.ndarray:
    """Keys at positions (Q, k), float32 (Q, k, D), the trajectories as they were at an age."""
    flat = positions.ravel()
    out = np.zeros((len(flat), width), np.float32)
    for segment, rows, where in places(segments, flat):
        out[where] = segment.keys[rows]
        if age is not None:
            key = segment.younger[age]
            out[where, : key.shape[1]] = key[rows]
    return out.reshape(*positions.shape, width)
