"""The calls of FAISS that search an index."""

from typing import Any

import numpy as np

from m3tr.memory.approximate.choice import Plan

Probes = tuple[np.ndarray, ...]


class Calls:
    """Searches of the FAISS index `index` that was built after `plan`.

    Queries are float32, (Q, D), scaled as the index's rows are not: `Index` sees to it.
    """

    def __init__(self, index: Any, plan: Plan) -> None:
        import faiss

        self.index, self.plan, self.n = index, plan, int(index.ntotal)
        if plan.kind == "ivf":
            coarse = faiss.downcast_index(index.quantizer)
            self._centroids = coarse.reconstruct_n(0, plan.lists)
            self._length = np.einsum("ld,ld->l", self._centroids, self._centroids)  # squared

    def probes(self, queries: np.ndarray, effort: int) -> Probes | None:
        """Lists to probe, nearest first, and the products with their centroids, (Q, effort)."""
        if self.plan.kind != "ivf":
            return None
        # a product and a partition: FAISS's heaps of hundreds take several times as long
        products = queries @ self._centroids.T
        nearness = products - self._length / 2
        lists = np.argpartition(-nearness, min(effort, self.plan.lists) - 1, axis=1)[:, :effort]
        near = np.take_along_axis(nearness, lists, 1)
        lists = np.take_along_axis(lists, np.argsort(-near, axis=1, kind="stable"), 1)
        return lists, np.take_along_axis(products, lists, 1)

    def search(
        self,
        queries: np.ndarray,
        n: int,
        limit: int,
        left_out: np.ndarray,
        effort: int,
        probes: Probes | None,
    ) -> np.ndarray:
        """Rows (Q, n), -1 for none, for queries of one limit and one set of excluded rows."""
        faiss = _faiss()
        # every selector needs a name until the call is over: FAISS keeps bare pointers;
        # rows ascend in every list, which is bisected where the range stands alone
        below = faiss.IDSelectorRange(0, limit, True)
        others = faiss.IDSelectorBatch(left_out)
        rest = faiss.IDSelectorNot(others)
        both = faiss.IDSelectorAnd(below, rest)
        allowed = both if len(left_out) else below if limit < self.n else None
        if probes is None:
            graph = faiss.SearchParametersHNSW(sel=allowed, efSearch=effort)
            return self.index.search(queries, n, params=graph)[1]
        lists, products = (np.ascontiguousarray(p) for p in probes)
        rows = np.empty((len(queries), n), np.int64)
        score = np.empty((len(queries), n), np.float32)
        ivf = faiss.SearchParametersIVF(sel=allowed, nprobe=lists.shape[1])
        q, a, p, s, r = (faiss.swig_ptr(x) for x in (queries, lists, products, score, rows))
        # FAISS's own wrapper of this call takes no parameters
        self.index.search_preassigned_c(len(queries), q, n, a, p, s, r, False, ivf)
        return rows


def default_threads() -> int:
    """Threads of FAISS."""
    return int(_faiss().omp_get_max_threads())


def one_thread() -> None:
    """Let the calling thread, one of a pool, search alone."""
    _faiss().omp_set_num_threads(1)


def _faiss() -> Any:
    # untyped: its stubs know neither parameters of searches nor selectors
    import faiss

    return faiss
