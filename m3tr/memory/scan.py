"""Exact search: the k best inner products, within a prefix, without what is left out.

Notable:
- queries are sorted by their prefix and multiplied block by block, so that a thousand clocks cost
  little more than one;
- blocks are float32, what survives them is scored again in float64: the answer does not depend on
  blocks, threads or companions in the batch;
- among equal scores the later row, whose outcome is the more recent, comes first.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from threadpoolctl import ThreadpoolController

QUERIES, ROWS = 256, 4096  # of a block: 4 MB of scores stay in the cache
SMALL = 200_000  # products, below which one thread is enough
MIN_SHARE = 2048  # rows, below which a second thread costs more than it saves
LONGEST = 3.0  # of a row: as many as nine parts of length 1
SLACK = 12  # candidates beyond k that are scored again
ROUNDING = 4 * 2.0**-24  # times sqrt(D): far above the error of a blocked float32 product

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]


def scan(
    pairs: Pairs, k: int, limit: np.ndarray, exclude: Sequence[np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of highest score for each query (docs/retrieval.md).

    Parameters
    ----------
    pairs : sequence of (ndarray (Q, D_p), ndarray (N, D_p))
        Weighted queries and items, float32; the score is the sum of the pairs' inner products.
        Items may be memory-mapped.
    k : int
    limit : ndarray of int, shape (Q,)
        Only rows below it.
    exclude : sequence of ndarray of int, optional
        Per query the rows left out, ascending.

    Returns
    -------
    score : ndarray of float64, shape (Q, k)
        0 where there is no row.
    row : ndarray of int64, shape (Q, k)
        Best first; -1 where fewer than k rows were allowed.
    """
    pairs = [(np.ascontiguousarray(q, np.float32), np.asarray(x)) for q, x in pairs]
    n_queries, n_rows = len(limit), len(pairs[0][1])
    limit = np.minimum(np.asarray(limit, np.int64), n_rows)
    left_out = _LeftOut.of(exclude, n_queries)
    order = np.argsort(limit, kind="stable")
    blocks = [order[begin : begin + QUERIES] for begin in range(0, n_queries, QUERIES)]
    threads = _threads()
    # few queries: the threads share out the rows instead
    shares = 1 if len(blocks) >= threads else threads
    width = k + SLACK
    best = np.full((n_queries, shares * width), -np.inf, np.float32)
    row = np.full((n_queries, shares * width), -1, np.int64)

    def work(task: tuple[np.ndarray, int]) -> None:
        queries, share = task
        stop = int(limit[queries[-1]])
        size = max(-(-stop // shares), MIN_SHARE)
        columns = slice(share * width, (share + 1) * width)
        best[queries, columns], row[queries, columns] = _scan_rows(
            [(q[queries], x) for q, x in pairs],
            range(min(share * size, stop), min((share + 1) * size, stop)),
            limit[queries], left_out.select(queries), width,
        )  # fmt: skip

    tasks = [(queries, share) for queries in blocks for share in range(shares)]
    with blas().limit(limits=1):
        if len(tasks) == 1:  # a pool of threads would cost more than a small search
            work(tasks[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, tasks))
    tied = _tied(best, row, k, shares, _slack(pairs))
    score, row = rescore(pairs, row, k)
    for q in np.flatnonzero(tied).tolist():
        one = [(query[q : q + 1], x) for query, x in pairs]
        left = left_out.of_query(q)
        score[q : q + 1], row[q : q + 1] = _scan_exactly(one, k, int(limit[q]), left)
    return score, row


def rescore(pairs: Pairs, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query's candidate rows (Q, C), -1 for none, scored in float64."""
    n_queries, width = candidates.shape
    exact = np.where(candidates >= 0, 0.0, -np.inf)
    for query, items in pairs:
        whole = slice(0, query.shape[1])
        add_products(query, whole, items, whole, candidates, exact)
    if width < k:
        candidates = np.pad(candidates, ((0, 0), (0, k - width)), constant_values=-1)
        exact = np.pad(exact, ((0, 0), (0, k - width)), constant_values=-np.inf)
    best = np.lexsort((-candidates, -exact), axis=1)[:, :k]
    score = np.take_along_axis(exact, best, 1)
    row = np.take_along_axis(candidates, best, 1)
    return np.where(row >= 0, score, 0.0), row


def by_array(
    arrays: Sequence[np.ndarray], change: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Each array changed, once where it is there many times: large ones may be shared."""
    changed: dict[int, np.ndarray] = {}
    arrays = list(arrays)  # an array of arrays makes new ones at each pass
    for array in arrays:
        if id(array) not in changed:
            changed[id(array)] = change(array)
    return [changed[id(array)] for array in arrays]


@dataclass(frozen=True)
class _LeftOut:
    """Rows left out: those of query q are `rows[first[q]:last[q]]`, ascending."""

    first: np.ndarray
    last: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, exclude: Sequence[np.ndarray] | None, n: int) -> "_LeftOut":
        given = [np.empty(0, np.int64)] * n if exclude is None else list(exclude)
        different = {id(rows): rows for rows in given}
        size = {key: len(rows) for key, rows in different.items()}
        end = dict(zip(size, np.cumsum([*size.values()], dtype=np.int64), strict=True))
        last = np.array([end[id(rows)] for rows in given], np.int64)
        flat = np.concatenate([np.empty(0, np.int64), *different.values()]).astype(np.int64)
        return cls(last - np.array([size[id(rows)] for rows in given], np.int64), last, flat)

    def select(self, queries: np.ndarray) -> "_LeftOut":
        return _LeftOut(self.first[queries], self.last[queries], self.rows)

    def of_query(self, q: int) -> np.ndarray:
        return self.rows[self.first[q] : self.last[q]]


def _scan_rows(
    pairs: Pairs, rows: range, limit: np.ndarray, left_out: _LeftOut, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best `width` of some rows, in float32: scores and rows, (Q, width) each."""
    best = np.full((len(limit), width), -np.inf, np.float32)
    place = np.full((len(limit), width), -1, np.int64)
    block = np.empty((len(limit), ROWS), np.float32)
    for start in range(rows.start, rows.stop, ROWS):
        stop = min(start + ROWS, rows.stop)
        scores = block[:, : stop - start]
        np.matmul(pairs[0][0], pairs[0][1][start:stop].T, out=scores)
        for query, items in pairs[1:]:
            scores += query @ items[start:stop].T
        _keep(
            scores, start, limit, left_out.first, left_out.last, left_out.rows, best, place
        )  # fmt: skip
    return best, place


def _scan_exactly(
    pairs: Pairs, k: int, limit: int, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same for one query among whose best are ties, in float64 throughout."""
    allowed = np.setdiff1d(np.arange(limit, dtype=np.int64), left_out, assume_unique=True)
    if not any(query.any() for query, _ in pairs):  # nothing to compare: the most recent
        allowed = allowed[-k:]
    return rescore(pairs, allowed[None], k)


def _tied(best: np.ndarray, row: np.ndarray, k: int, shares: int, slack: np.ndarray) -> np.ndarray:
    """Queries of which a share was cut where float32 cannot tell the order, shape (Q,)."""
    n, width = best.shape
    kth = -np.partition(-best, k - 1, axis=1)[:, k - 1]
    last = best.reshape(n, shares, -1)[:, :, -1]
    full = row.reshape(n, shares, -1)[:, :, -1] >= 0
    return (full & (last >= (kth - slack)[:, None])).any(1)


def _threads() -> int:
    """Threads to use: the cores of this process, or what OMP_NUM_THREADS says."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))


@cache
def blas() -> ThreadpoolController:
    """The threads of numpy's products; to look for them takes longer than a small search."""
    return ThreadpoolController().select(user_api="blas")


def _slack(pairs: Pairs) -> np.ndarray:
    """Per query, how far two float32 scores may be from their order in float64."""
    total = np.zeros(len(pairs[0][0]))
    for query, items in pairs:
        # parts of a key are unit vectors: a row is no longer than the root of their number
        longest = np.sqrt(items.shape[1])
        total += np.linalg.norm(query, axis=1) * min(longest, LONGEST) * np.sqrt(items.shape[1])
    return 2 * ROUNDING * total


@njit(cache=True, fastmath=True, nogil=True)
def _keep(
    scores: np.ndarray,
    start: int,
    limit: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    left_out: np.ndarray,
    best: np.ndarray,
    place: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Merge a block of scores (Q, R) into each query's best so far, sorted from the best."""
    width = best.shape[1]
    for q in range(scores.shape[0]):
        stop = min(scores.shape[1], limit[q] - start)
        least = best[q, width - 1]
        for chunk in range(0, stop, 32):
            end = min(chunk + 32, stop)
            top = np.float32(-3.4e38)
            for j in range(chunk, end):
                top = max(top, scores[q, j])
            if top < least:
                continue
            for j in range(chunk, end):
                value = scores[q, j]
                if value < least:
                    continue
                row = start + j
                lo, hi = first[q], last[q]
                while lo < hi:
                    middle = (lo + hi) // 2
                    if left_out[middle] < row:
                        lo = middle + 1
                    else:
                        hi = middle
                if lo < last[q] and left_out[lo] == row:
                    continue
                i = width - 1
                while i > 0 and best[q, i - 1] <= value:
                    best[q, i] = best[q, i - 1]
                    place[q, i] = place[q, i - 1]
                    i -= 1
                best[q, i] = value
                place[q, i] = row
                least = best[q, width - 1]


def add_products(
    query: np.ndarray,
    of_query: slice,
    items: np.ndarray,
    of_items: slice,
    rows: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add to `out` (Q, C) the products of some columns of each query with those of its `rows`.

    In float64; rows below 0 add nothing. Many queries are shared among threads.
    """
    query, width = np.ascontiguousarray(query, np.float32), of_query.stop - of_query.start
    columns = of_query.start, of_items.start, width
    threads = _threads() if rows.size * width > SMALL else 1
    if threads == 1:
        _add(query, items, *columns, rows, out)
        return
    ends = np.linspace(0, len(rows), threads + 1).astype(int).tolist()

    def work(share: int) -> None:
        own = slice(ends[share], ends[share + 1])
        _add(query[own], items, *columns, rows[own], out[own])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


@njit(cache=True, nogil=True)
def _add(
    query: np.ndarray,
    items: np.ndarray,
    first: int,
    start: int,
    width: int,
    rows: np.ndarray,
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Columns from `first` of the queries times those from `start` of the items, in float64."""
    whole = width // 4 * 4
    for q in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            row = rows[q, c]
            if row >= 0:
                # four sums, always in the same order: quick, and the same for equal rows
                a = b = c0 = d0 = 0.0
                for d in range(0, whole, 4):
                    i, j = first + d, start + d
                    a += np.float64(query[q, i]) * np.float64(items[row, j])
                    b += np.float64(query[q, i + 1]) * np.float64(items[row, j + 1])
                    c0 += np.float64(query[q, i + 2]) * np.float64(items[row, j + 2])
                    d0 += np.float64(query[q, i + 3]) * np.float64(items[row, j + 3])
                for d in range(whole, width):
                    a += np.float64(query[q, first + d]) * np.float64(items[row, start + d])
                out[q, c] += (a + b) + (c0 + d0)
