"""A search of a segment that has an index: candidates from it, scored exactly, a scan where needed.

The scan answers what it answers faster, what the index is not good enough for, and every query to
which the index gave fewer than it may be shown: a query early in time still gets its k.
"""

from collections.abc import Sequence

import numpy as np

from m3tr.memory.approximate.index import Index
from m3tr.memory.scan import Pairs, rescore, scan


def search(
    index: Index,
    pairs: Pairs,
    k: int,
    limit: np.ndarray,
    exclude: Sequence[np.ndarray] | None,
    eta: float,
    usual: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows (Q, k) of the best that the index knows of.

    Parameters
    ----------
    pairs : sequence of one pair
        Weighted queries (Q, D) and the keys (N, D) that the index was built of.
    k, limit, exclude
        As of `scan.scan`.
    eta : float
        Weight of the trajectory in the queries.
    usual : ndarray of bool, shape (Q,)
        False where a query's weights are not those that the index was tuned for: it is scanned.
    """
    (query, keys), n = pairs[0], len(limit)
    score, row = np.zeros((n, k)), np.full((n, k), -1, np.int64)
    nothing = np.empty(0, np.int64)
    left_out = [nothing] * n if exclude is None else list(exclude)
    ask = np.flatnonzero(usual & ~index.efforts.scan_first(limit, eta))
    short = np.ones(n, bool)
    if len(ask):
        outs = [left_out[q] for q in ask.tolist()]
        found = index.candidates(query[ask], index.efforts.wanted(k, eta), limit[ask], outs, eta)
        score[ask], row[ask] = rescore([(query[ask], keys)], found, k)
        hidden = [np.searchsorted(left_out[q], limit[q]) for q in ask.tolist()]
        short[ask] = index.underfull(found, k, limit[ask] - np.array(hidden, np.int64))
    rest = np.flatnonzero(short)
    if len(rest):
        outs = [left_out[q] for q in rest.tolist()]
        score[rest], row[rest] = scan([(query[rest], keys)], k, limit[rest], outs)
    return score, row
