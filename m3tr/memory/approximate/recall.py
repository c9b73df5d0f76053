"""How much of the exact answer an index finds, and the least effort that finds enough.

Candidates are scored exactly afterwards, so a search finds what its candidates hold. Effort is the
number of lists probed or efSearch; it is tuned for weights and for a share of the rows, because a
prefix has its best rows farther from the query.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from m3tr.memory.approximate.choice import Plan

K = 10
SPARE = 22  # places beyond the K best, for rows as good as the last of them
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHARES = (1 / 16, 1 / 4, 1.0)  # of the rows: an early clock, one in the middle, none
FACTORS = ((5, 10, 20, 40), (80, 160))  # candidates for each neighbour wanted; few are tried first
BLOCK = 65_536  # rows read at a time

Read = Callable[[int, int], np.ndarray]
Search = Callable[[np.ndarray, int, int, int], np.ndarray]


@dataclass(frozen=True)
class Truth:
    """The exact best rows of Q queries, best first; -1 where there are fewer."""

    rows: np.ndarray  # int64 (Q, K + SPARE)
    scores: np.ndarray  # float32 (Q, K + SPARE)

    def of(self, queries: slice) -> "Truth":
        """That of some of the queries."""
        return Truth(self.rows[queries], self.scores[queries])


@dataclass(frozen=True)
class Setting:
    """The effort for one weight and share of the rows, and the recall it was measured to have."""

    eta: float
    share: float
    effort: int
    factor: int
    recall: float
    error: float
    reached: bool

    def row(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def exact(read: Read, limits: Sequence[int], queries: np.ndarray) -> list[Truth]:
    """The best rows of weighted `queries` (Q, D) below each of the ascending `limits`.

    The one pass over the rows stops at every limit; memory is that of a block.
    """
    import faiss

    wanted = K + SPARE
    scores = np.full((len(queries), wanted), -np.inf, np.float32)
    rows = np.full((len(queries), wanted), -1, np.int64)
    found, start = [], 0
    for limit in limits:
        while start < limit:
            stop = min(start + BLOCK, limit)
            keys = np.ascontiguousarray(read(start, stop), np.float32)
            best = min(wanted, stop - start)
            s, r = faiss.knn(queries, keys, best, metric=faiss.METRIC_INNER_PRODUCT)
            scores, rows = np.hstack([scores, s]), np.hstack([rows, r + start])
            order = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
            scores = np.take_along_axis(scores, order, 1)
            rows = np.take_along_axis(rows, order, 1)
            start = stop
        found.append(Truth(rows, scores))
    return found


def recall_of(candidates: np.ndarray, truth: Truth, k: int = K) -> tuple[float, float]:
    """Share of the exact `k` best among `candidates` (Q, n), and its standard error.

    Rows as good as the last of the best are as right as that one.
    """
    n = np.minimum((truth.rows >= 0).sum(1), k)
    some = n > 0
    if not some.any():
        return 1.0, 0.0
    last = np.take_along_axis(truth.scores, np.maximum(n - 1, 0)[:, None], 1)
    good = (truth.rows >= 0) & (truth.scores >= last - 1e-6)
    hit = np.array(
        [np.isin(t[g], c).sum() for t, g, c in zip(truth.rows, good, candidates, strict=True)]
    )
    share = (np.minimum(hit, n) / np.maximum(n, 1))[some]
    return float(share.mean()), float(share.std() / np.sqrt(len(share)))


def ladder(plan: Plan) -> list[int]:
    """Efforts to try, least first, a fourth root of two apart."""
    least, most = (1, plan.lists) if plan.kind == "ivf" else (16, 2048)
    steps = range(int(4 * np.log2(most / least)) + 1)
    return sorted({*(round(least * 2 ** (step / 4)) for step in steps), most})


def tune(
    search: Search,
    plan: Plan,
    n: int,
    target: float,
    truths: dict[tuple[float, float], Truth],
    queries: dict[float, np.ndarray],
) -> list[Setting]:
    """The cheapest effort and number of candidates that reach `target`, for every weight and share.

    `search(queries, n, limit, effort)` gives candidates. Recall must exceed the target by its
    standard error, for chance must not choose. What no effort reaches gets the best found.
    """
    table = []
    for (eta, share), truth in truths.items():
        limit = max(1, round(share * n))
        chosen: list[Setting] = []
        for factors in FACTORS:
            chosen.append(_cheapest(search, plan, n, target, truth, queries[eta], limit, factors))
            if chosen[-1].reached:
                break
        best = max(chosen, key=lambda s: s.recall)
        table.append(replace(best, eta=eta, share=share))
    return table


def _cheapest(
    search: Search,
    plan: Plan,
    n: int,
    target: float,
    truth: Truth,
    queries: np.ndarray,
    limit: int,
    factors: tuple[int, ...],
) -> Setting:
    """The cheapest setting that reaches the target, or the best where none does."""
    rungs = ladder(plan)
    best: tuple[float, Setting] | None = None
    fallback: Setting | None = None
    for effort in rungs[_foot(search, rungs, queries, truth, limit, target, K * factors[-1]) :]:
        if best and plan.cost(n, effort, K * factors[0]) >= best[0]:
            break
        found = search(queries, K * factors[-1], limit, effort)
        for factor in factors:
            recall, error = recall_of(found[:, : K * factor], truth)
            reached = recall - error >= target
            setting = Setting(0.0, 1.0, effort, factor, recall, error, reached)
            cost = plan.cost(n, effort, K * factor)
            if reached and (best is None or cost < best[0]):
                best = cost, setting
            if fallback is None or recall > fallback.recall:
                fallback = setting
    chosen = best[1] if best else fallback
    assert chosen is not None  # there is at least the top rung
    return chosen


def _foot(
    search: Search,
    rungs: list[int],
    queries: np.ndarray,
    truth: Truth,
    limit: int,
    target: float,
    candidates: int,
) -> int:
    """The lowest rung that may reach the target, found by halving: recall grows with effort."""
    low, high = 0, len(rungs) - 1
    while low < high:
        middle = (low + high) // 2
        found = search(queries, candidates, limit, rungs[middle])
        recall, error = recall_of(found, truth)
        if recall - error >= target:
            high = middle
        else:
            low = middle + 1
    return low
