"""Centroids and codes of an index, and its rows, on a GPU where FAISS has one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from m3tr.memory.approximate.choice import BUILD_EF, LINKS, SAMPLE, Plan
from m3tr.memory.approximate.recall import BLOCK, Read
from m3tr.progress import track

ROUNDS = 6  # of k-means; more move the probes needed by less than one step of the ladder


def gpus() -> int:
    """GPUs that FAISS can use: 0 with faiss-cpu."""
    import faiss

    count = getattr(faiss, "get_num_gpus", None)
    return int(count()) if count else 0


def quantiser_on_gpu(flat: Any) -> Any:
    """A copy of the flat index `flat` on the first GPU."""
    import faiss

    resources = faiss.StandardGpuResources()
    copy: Any = faiss.index_cpu_to_gpu(resources, 0, flat)
    copy.resources = resources  # they must live as long as the copy
    return copy


def centroids(rows: np.ndarray, lists: int, seed: int) -> np.ndarray:
    """k-means of `rows` (N, D), shape (lists, D)."""
    import faiss

    d = rows.shape[1]
    means = faiss.Clustering(d, lists)
    means.niter, means.seed = ROUNDS, seed + 1
    means.min_points_per_centroid = 1
    means.max_points_per_centroid = max(len(rows) // lists, 1) + 1  # they are a sample
    nearest = faiss.IndexFlatL2(d)
    means.train(rows, quantiser_on_gpu(nearest) if gpus() else nearest)
    return faiss.vector_to_array(means.centroids).reshape(lists, d)


def empty(plan: Plan, d: int, rows: np.ndarray, seed: int) -> Any:
    """The trained FAISS index of `plan` without rows, fitted to `rows` (N, d)."""
    if plan.kind == "hnsw":
        index = _graph(plan, d)
        index.train(rows)
        return index
    index = _lists(plan, d, centroids(rows, plan.lists, seed))
    if plan.codes == "pq4":
        index.pq.cp.seed = seed + 1
        index.pq.cp.min_points_per_centroid = 1  # few are enough for 16 centroids
    with single_thread():  # its regions are too short for two threads to meet
        index.train(rows[:: max(len(rows) // 65_536, 1)])  # codes need few
    return index


def emptied(index: Any, plan: Plan, d: int) -> Any:
    """An index without rows that has the centroids and codes of the trained `index`."""
    import faiss

    if plan.kind == "hnsw":
        new = _graph(plan, d)
        if plan.codes != "full":
            held: Any = faiss.downcast_index(new.storage)
            old: Any = faiss.downcast_index(index.storage)
            held.sq, held.is_trained = old.sq, True
        new.is_trained = True
        return new
    coarse = faiss.downcast_index(index.quantizer)
    new = _lists(plan, d, coarse.reconstruct_n(0, plan.lists))
    if plan.codes == "pq4":
        new.pq = index.pq
    elif plan.codes != "full":
        new.sq = index.sq
    new.is_trained = True
    return new


def _graph(plan: Plan, d: int) -> Any:
    import faiss

    product = faiss.METRIC_INNER_PRODUCT
    index: Any
    if plan.codes == "full":
        index = faiss.IndexHNSWFlat(d, LINKS, product)
    else:
        index = faiss.IndexHNSWSQ(d, _quantity(plan), LINKS, product)
    index.hnsw.efConstruction = BUILD_EF
    return index


def _lists(plan: Plan, d: int, centroids: np.ndarray) -> Any:
    import faiss

    product = faiss.METRIC_INNER_PRODUCT
    coarse = faiss.IndexFlatL2(d)
    coarse.add(centroids)
    if plan.codes == "pq4":
        index = faiss.IndexIVFPQFastScan(coarse, d, plan.lists, d // plan.dims, 4, product)
        index.by_residual = True  # halves the candidates, and is no slower for products
        return index
    if plan.codes == "full":
        return faiss.IndexIVFFlat(coarse, d, plan.lists, product)
    return faiss.IndexIVFScalarQuantizer(coarse, d, plan.lists, _quantity(plan), product)


def _quantity(plan: Plan) -> Any:
    import faiss

    return getattr(faiss.ScalarQuantizer, {"sq8": "QT_8bit", "bf16": "QT_bf16"}[plan.codes])


def sample(rows: Read, n: int, plan: Plan, seed: int) -> np.ndarray:
    """Rows for training, in short runs from all over the segment."""
    wanted = min(n, SAMPLE, max(40 * plan.lists, 20_000))
    run = 64 if n > 8 * wanted else 1 if n <= 4096 else 16
    starts = np.arange(0, n, run)
    if wanted < n:
        rng = np.random.default_rng(seed)
        starts = np.sort(rng.choice(starts, min(len(starts), -(-wanted // run)), replace=False))
    return np.vstack([rows(int(s), min(int(s) + run, n)) for s in starts])


def fill(index: Any, rows: Read, n: int, plan: Plan) -> None:
    """Add all rows in their order, a block at a time; a GPU, if any, finds their centroids."""
    blocks = range(0, n, BLOCK)
    with _assigning(index, plan):
        for start in track(blocks, "index: blocks of rows"):
            index.add(rows(start, min(start + BLOCK, n)))


@contextmanager
def _assigning(index: Any, plan: Plan) -> Iterator[None]:
    import faiss

    if plan.kind == "hnsw":
        with single_thread():  # threads link nodes in the order of their race
            yield
    elif gpus():
        own = index.quantizer
        fast = quantiser_on_gpu(faiss.downcast_index(own))
        index.quantizer = fast
        try:
            yield
        finally:
            index.quantizer = own
    else:
        yield


@contextmanager
def single_thread() -> Iterator[None]:
    """FAISS with one thread, for the calling thread."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
