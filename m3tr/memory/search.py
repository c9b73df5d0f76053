"""The search over several segments, whose items positions number through."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from m3tr.errors import InputError
from m3tr.memory.keys import Keys
from m3tr.memory.manifest import Manifest
from m3tr.memory.neighbours import Neighbours
from m3tr.memory.scan import add_products, by_array
from m3tr.memory.segment import Segment
from m3tr.memory.weighing import effective, joint, shares

MOST = 10_000  # neighbours of a query


def search(
    manifest: Manifest,
    segments: Sequence[Segment],
    queries: Keys,
    k: int,
    eta: float | None,
    weights: Mapping[str, float] | None,
    known_by: np.ndarray | None,
    exclude: Sequence[np.ndarray] | None,
    age: np.ndarray | None,
) -> Neighbours:
    """The neighbours of each query; `Bank.search` describes the arguments and the errors."""
    n = len(queries)
    if not 1 <= k <= MOST:
        raise InputError(f"k must be between 1 and {MOST}, not {k}")
    share = manifest.eta if eta is None else eta
    portion = shares(manifest, queries, share, weights)
    parts = portion.parts()
    own, columns = joint(manifest, queries), manifest.slices()
    weighted = own.copy()
    for part, place in columns.items():
        weighted[:, place] *= parts[part][:, None]
    clocks = None if known_by is None else _clocks(known_by, n)
    left_out = None if exclude is None else _left_out(exclude, n)
    ages = np.full(n, np.nan) if age is None else np.asarray(age, float)
    # an index was tuned for the bank's weights and for queries that have both sides
    usual = portion.trajectory == share
    usual &= effective(manifest, weights) == effective(manifest, None)
    index, score = np.full((n, k), -1, np.int64), np.zeros((n, k))
    cosine = {part: np.zeros((n, k)) for part in columns}
    for at, rows in _by_age(ages, manifest):
        index[rows], score[rows] = best(
            segments, weighted[rows], k,
            None if clocks is None else clocks[rows],
            None if left_out is None else [left_out[r] for r in rows.tolist()],
            at, share, usual[rows],
        )  # fmt: skip
        for part, value in cosines(segments, columns, own[rows], index[rows], at).items():
            cosine[part][rows] = value
    content = np.zeros((n, k))
    for m, w in portion.within.items():
        content += w[:, None] * cosine[m]
    trajectory = cosine.pop("trajectory")
    return Neighbours(index, score, trajectory, content, cosine, parts, ages)


def _clocks(known_by: np.ndarray, n: int) -> np.ndarray:
    clocks = np.asarray(known_by, "datetime64[us]")
    if clocks.shape not in ((), (n,)):
        raise InputError(f"known_by has the shape {clocks.shape}, there are {n} queries")
    if np.isnat(clocks).any():
        raise InputError("known_by holds no time for some query: give it a clock or leave it out")
    return np.broadcast_to(clocks, (n,))


def _left_out(exclude: Sequence[np.ndarray], n: int) -> list[np.ndarray]:
    if len(exclude) != n:
        raise InputError(f"exclude is of {len(exclude)} queries, there are {n}")
    return by_array(exclude, lambda rows: np.unique(np.asarray(rows, np.int64)))


def _inside(rows: np.ndarray, start: int, stop: int) -> np.ndarray:
    return rows[(rows >= start) & (rows < stop)] - start


def _by_age(ages: np.ndarray, manifest: Manifest) -> Iterator[tuple[float | None, np.ndarray]]:
    """Queries of one age at a time; None is the task's own."""
    own = np.flatnonzero(np.isnan(ages))
    if len(own):
        yield None, own
    for at in np.unique(ages[~np.isnan(ages)]).tolist():
        if at not in manifest.younger:
            raise InputError(
                f"the bank has no trajectories at the age of {at} days, only at "
                f"{manifest.younger}: name one of these in bank.ages and rebuild it"
            )
        yield at, np.flatnonzero(ages == at)


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
    usual: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (-1: none) and scores (Q, k) of the best; among equals the later known first.

    The answer is that of a bank whose items all lie in one segment.
    """
    position, score, recent, start = [], [], [], 0
    for segment in segments:
        inside = exclude
        if exclude is not None and len(segments) > 1:
            stop = start + len(segment)
            inside = by_array(exclude, partial(_inside, start=start, stop=stop))
        value, row = segment.search(weighted, k, known_by, inside, age, eta, usual)
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
    columns: Mapping[str, slice],
    own: np.ndarray,
    index: np.ndarray,
    age: float | None,
) -> dict[str, np.ndarray]:
    """The cosine of each part of the joint keys `own` (Q, D), (Q, k); 0 where `index` is -1."""
    out = {part: np.zeros(index.shape) for part in columns}
    start = 0
    for segment in segments:
        here = (index >= start) & (index < start + len(segment))
        rows = np.where(here, index - start, -1)
        start += len(segment)
        if not here.any():
            continue
        for part, place in columns.items():
            keys, at = segment.keys, place
            if part == "trajectory" and age is not None:
                keys, at = segment.younger[age], slice(0, place.stop - place.start)
            add_products(own, place, keys, at, rows, out[part])
    return out
