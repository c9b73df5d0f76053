"""How long do the neighbours of all items take? Ours, a Python loop, scikit-learn and faiss.

Every item of a bank is a query that excludes itself: k = 20 of 19,738 items, 128 dimensions of
trajectory and 768 of content, eta 0.5. The Python loop is the published way: for every query and
every candidate two cosines with numpy; it is timed on a few queries and extrapolated. scikit-learn
and faiss get one vector an item, the two keys scaled by the roots of their weights. Rounds are
interleaved, medians are reported; all use the same threads.
"""

import argparse
import statistics
from typing import Any

import numpy as np

from benchmarks.banks import items_over_days, joined, keys_like_real_ones, seconds
from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys

LAYOUT = {"trajectory": 128, "content": 768}
ITEMS, QUICK_ITEMS = 19_738, 4_000
K, ETA = 20, 0.5
SAMPLE = 200  # queries whose neighbours are checked in float64
ROUNDING = 2e-6  # two float32 inner products of unit vectors may differ by so much


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--items", type=int, help=f"items of the bank (default {ITEMS})")
    parser.add_argument("--loop", type=int, default=3, help="queries of the Python loop (3)")
    parser.add_argument("--rounds", type=int, default=3, help="of everything but the loop (3)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each way, ratios to ours, and whether the answers are the same."""
    n = options.items or (QUICK_ITEMS if options.quick else ITEMS)
    rounds = 2 if options.quick else options.rounds
    rng = np.random.default_rng(0)
    items, keys = items_over_days(rng, n, 365.0), keys_like_real_ones(rng, n, LAYOUT)
    build_s, bank = seconds(lambda: Bank.build(items, keys, {}))
    itself = [np.array([i]) for i in range(n)]
    queries, vectors = bank.keys, joined(bank.keys, ETA)
    # each item is asked for on its own clock: a week before its outcome was known
    clock = bank.items["known_at"].to_numpy() - np.timedelta64(7, "D")
    ways = {
        "ours": lambda: bank.search(queries, K, ETA, exclude=itself).index,
        "ours, by clock": lambda: (
            bank.search(queries, K, ETA, known_by=clock, exclude=itself).index
        ),
        "scikit-learn": lambda: of_sklearn(vectors),
        "faiss": lambda: of_faiss(vectors),
    }
    bank.search(queries.select(np.arange(300)), K, ETA)  # compiles
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            took, found[name] = seconds(way)
            times[name].append(took)
    took, loop = seconds(lambda: python_loop(queries, range(options.loop)))
    times["Python loop"] = [took / options.loop * n]

    typical = {name: statistics.median(t) for name, t in times.items()}
    print(f"{n} items, {sum(LAYOUT.values())} dimensions, k = {K}; building the bank took", end=" ")
    print(f"{build_s:.2f} s\n\n{'way':16} {'s':>10} {'fastest':>10} {'/ ours':>9}")
    for name, value in typical.items():
        print(f"{name:16} {value:10.2f} {min(times[name]):10.2f} {value / typical['ours']:9.2f}")
    print(f"\nthe loop: {options.loop} queries, extrapolated")

    exact = in_float64(queries, np.linspace(0, n - 1, min(SAMPLE, n)).astype(int))
    same = {
        "scikit-learn": alike(queries, found["ours"], found["scikit-learn"]),
        "faiss": alike(queries, found["ours"], found["faiss"]),
        "float64": alike(queries, found["ours"], exact),
        "Python loop": alike(queries, found["ours"], dict(enumerate(loop))),
    }
    for name, (equal, swapped) in same.items():
        what = "the same neighbours" if equal else "OTHER NEIGHBOURS"
        print(f"ours and {name}: {what}, {swapped} places within rounding")
    ours = typical["ours"]
    return {
        "items": n,
        "ours_s": round(ours, 3),
        "ours_by_clock_s": round(typical["ours, by clock"], 3),
        "sklearn_s": round(typical["scikit-learn"], 3),
        "faiss_s": round(typical["faiss"], 3),
        "python_loop_s": round(typical["Python loop"], 1),
        "build_s": round(build_s, 3),
        "vs_python_loop": round(typical["Python loop"] / ours, 1),
        "vs_sklearn": round(typical["scikit-learn"] / ours, 2),
        "vs_sklearn_with_build": round(typical["scikit-learn"] / (ours + build_s), 2),
        "vs_faiss": round(typical["faiss"] / ours, 2),
        "by_clock_vs_sklearn": round(typical["scikit-learn"] / typical["ours, by clock"], 2),
        "identical": all(equal for equal, _ in same.values()),
    }


def of_sklearn(vectors: np.ndarray) -> np.ndarray:
    """Neighbours (N, K) by brute-force cosine, without the item itself."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=K + 1, algorithm="brute", metric="cosine", n_jobs=-1)
    return without_itself(search.fit(vectors).kneighbors(vectors, return_distance=False))


def of_faiss(vectors: np.ndarray) -> np.ndarray:
    """Neighbours (N, K) by the flat inner-product index, without the item itself."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return without_itself(index.search(vectors, K + 1)[1])


def without_itself(index: np.ndarray) -> np.ndarray:
    """The first K of K + 1 neighbours that are not the query's own row."""
    other = index != np.arange(len(index))[:, None]
    order = np.argsort(~other, axis=1, kind="stable")[:, :K]
    return np.take_along_axis(index, order, 1)


def python_loop(keys: Keys, queries: range) -> list[np.ndarray]:
    """Neighbours by two cosines for each pair of a query and a candidate, one after the other."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))

    trajectory, content = keys.trajectory, keys.content["content"]
    answers = []
    for q in queries:
        scores = []
        for b in range(len(keys)):
            if b != q:
                alike = ETA * cosine(trajectory[q], trajectory[b])
                scores.append((alike + (1 - ETA) * cosine(content[q], content[b]), b))
        scores.sort(reverse=True)
        answers.append(np.array([b for _, b in scores[:K]]))
    return answers


def in_float64(keys: Keys, queries: np.ndarray) -> dict[int, np.ndarray]:
    """Neighbours of some items by their definition, in float64."""
    scores = scores64(keys, queries, np.arange(len(keys)))
    scores[np.arange(len(queries)), queries] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return dict(zip(queries.tolist(), best, strict=True))


def scores64(keys: Keys, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Scores of each of `rows` with all of `others` (N,), or with its own (Q, K), in float64."""
    total = np.zeros(1)
    for weight, key in ((ETA, keys.trajectory), (1 - ETA, keys.content["content"])):
        query, item = key[rows].astype(float), key[others].astype(float)
        how = "qd,bd->qb" if others.ndim == 1 else "qd,qkd->qk"
        total = total + weight * np.einsum(how, query, item, optimize=True)
    return total


def alike(
    keys: Keys, ours: np.ndarray, theirs: np.ndarray | dict[int, np.ndarray]
) -> tuple[bool, int]:
    """Whether the neighbours are the same up to rounding, and how many places rounding moved."""
    rows = np.array(sorted(theirs)) if isinstance(theirs, dict) else np.arange(len(theirs))
    other = np.array([theirs[r] for r in rows.tolist()])
    row, place = np.nonzero(ours[rows] != other)
    if not len(row):
        return True, 0
    asked, own, one = rows[row], ours[rows][row, place], other[row, place]
    gap = np.zeros(len(row))
    for part in np.array_split(np.arange(len(row)), 1 + len(row) // 10_000):
        pair = np.column_stack([own[part], one[part]])
        gap[part] = np.abs(np.diff(scores64(keys, asked[part], pair), axis=1))[:, 0]
    return bool((gap < ROUNDING).all()), len(row)
