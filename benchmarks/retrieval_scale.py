"""How fast is the approximate index, how much does it find, and what does it cost to have it?"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.retrieval_world import D, World, difficulty, weights
from m3tr.memory.approximate.index import Index
from m3tr.memory.approximate.recall import exact, recall_of
from m3tr.memory.approximate.settings import IndexSettings
from m3tr.memory.scan import rescore, scan

K = 10
BATCH = 256
TUNING, MEASURED = 256, 1024  # queries
TEN_MILLION = 10_000_000
OPEN = """
import sys, numpy as np
from pathlib import Path
from m3tr.memory.approximate.index import Index
def resident():
    lines = open("/proc/self/status").read().split("\\n")
    return [int(x.split()[1]) for x in lines if x.startswith(("RssAnon", "RssFile"))]
import faiss
queries = np.random.default_rng(0).normal(size=(256, int(sys.argv[2]))).astype(np.float32)
faiss.IndexFlatIP(queries.shape[1]).search(queries[:1], 1)
before = resident()
index = Index.load(Path(sys.argv[1]))
index.candidates(queries, index.efforts.wanted(10))
print(*(now - then for now, then in zip(resident(), before)))
"""

Search = Callable[[np.ndarray], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--items", type=int, default=1_000_000, help="of the largest bank")
    parser.add_argument("--sizes", type=int, default=4, help="each twice the one before")
    parser.add_argument("--rounds", type=int, default=5, help="times every way is measured")
    parser.add_argument(
        "--kinds", default="sq8,full,hnsw", help="other indexes, for the smallest bank; - for none"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the keys lie meanwhile (a temporary one)"
    )


def run(options: argparse.Namespace) -> dict[str, float]:
    """Banks of growing size: build, recall, queries a second, memory; what follows for 10 M."""
    largest = 40_000 if options.quick else options.items
    sizes = (
        [largest] if options.quick else [largest // 2**i for i in reversed(range(options.sizes))]
    )
    kinds = [] if options.quick or options.kinds == "-" else options.kinds.split(",")
    rounds = 2 if options.quick else options.rounds
    world = World()
    drawn = world.queries(TUNING + MEASURED)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        keys = world.keys(Path(folder) / "keys.npy", largest)
        figures: dict[str, float] = dict(hardness(keys, drawn[TUNING:]))
        print(f"{largest} items of {D} dimensions, {os.cpu_count()} cores, float32;")
        print(f"ten nearest: intrinsic dimension {figures['intrinsic_dimension']:.1f},", end=" ")
        print(f"relative contrast {figures['contrast']:.2f}\n")
        print(f"{'index':20} {'items':>8} {'fill s':>7} {'tune s':>7} {'B/item':>6}", end="")
        print(f" {'anon MB':>8} {'recall@10':>9} {'q/s, 1':>8} {'/ flat':>7}", end="")
        print(f" {'q/s, 256':>9} {'/ flat':>7}")
        rows = []
        for kind in kinds:
            one(kind, keys[: sizes[0]], drawn, Path(folder), rounds)
        for n in sizes:
            index, row = one("ivf", keys[:n], drawn, Path(folder), rounds)
            rows.append(row)
        figures |= rows[-1]
        print("\nthe largest bank, by eta and by the clock (rows that are known by it)\n")
        figures |= by_clock_and_eta(index, keys, drawn[TUNING:], rounds)
        if len(sizes) > 1:
            figures |= extrapolate(sizes, rows)
    return {name: round(float(value), 4) for name, value in figures.items()}


def hardness(keys: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """The difficulty of the largest bank."""

    def nearest(weighted: np.ndarray, k: int) -> np.ndarray:
        return scan([(weighted, keys)], k, np.full(len(weighted), len(keys)))[0]

    return difficulty(nearest, queries[:256], np.mean(keys[:: max(len(keys) // 50_000, 1)], axis=0))


def one(
    kind: str, keys: np.ndarray, queries: np.ndarray, folder: Path, rounds: int
) -> tuple[Index, dict[str, float]]:
    """Build one index, then measure it and the exact searches in turn; prints a line."""
    n = len(keys)
    settings = {
        "ivf": IndexSettings(kind="ivf"),
        "sq8": IndexSettings(kind="ivf", codes="sq8"),
        "full": IndexSettings(kind="ivf", codes="full"),
        "hnsw": IndexSettings(kind="hnsw"),
    }[kind]
    built = Index.build(lambda a, b: keys[a:b], n, settings, queries[:TUNING], weights)
    path = folder / "index.faiss"
    built.save(path)
    index = Index.load(path)
    weighted = np.ascontiguousarray(queries[TUNING:] * weights(0.5))
    (truth,) = exact(lambda a, b: keys[a:b], [n], weighted)
    recall, _ = recall_of(answer(index, keys, weighted), truth)
    ways: dict[str, Search] = {"index": lambda q: answer(index, keys, q)}
    with flat(keys) as others:
        rate = {
            size: rates(ways | others, weighted, size, rounds if n > 200_000 else rounds + 2)
            for size in (1, BATCH)
        }
    best = {size: max(v for w, v in rate[size].items() if w != "index") for size in rate}
    row = {
        "items": n,
        "recall_at_10": recall,
        "speedup": rate[BATCH]["index"] / best[BATCH],
        "speedup_batch_1": rate[1]["index"] / best[1],
        "qps": rate[BATCH]["index"],
        "qps_batch_1": rate[1]["index"],
        **{f"qps_{w}": v for w, v in rate[BATCH].items() if w != "index"},
        **{f"qps_{w}_batch_1": v for w, v in rate[1].items() if w != "index"},
        "fill_s": built.facts["build_seconds"]["fill"],
        "tune_s": built.facts["build_seconds"]["tune"],
        "bytes_per_item": path.stat().st_size / n,
        "anon_mb": resident(path),
    }
    print(
        f"{index.facts['factory']:20} {n:8} {row['fill_s']:7.1f} {row['tune_s']:7.1f}"
        f" {row['bytes_per_item']:6.0f} {row['anon_mb']:8.0f} {recall:9.3f}"
        f" {row['qps_batch_1']:8.0f} {row['speedup_batch_1']:7.1f}"
        f" {row['qps']:9.0f} {row['speedup']:7.1f}",
        flush=True,
    )
    for size in rate:
        flats = ", ".join(f"{w} {v:.1f}" for w, v in rate[size].items() if w != "index")
        print(f"    exact, batches of {size}, q/s: {flats}", flush=True)
    return index, row


def answer(
    index: Index,
    keys: np.ndarray,
    queries: np.ndarray,
    limit: np.ndarray | None = None,
    eta: float | None = None,
) -> np.ndarray:
    """The K best rows as a bank finds them: candidates scored exactly, or a scan."""
    limit = np.full(len(queries), len(keys)) if limit is None else limit
    rows = np.full((len(queries), K), -1, np.int64)
    scanned = index.efforts.scan_first(limit, eta)
    if not scanned.all():
        asked = np.flatnonzero(~scanned)
        found = index.candidates(
            queries[asked], index.efforts.wanted(K, eta), limit[asked], eta=eta
        )
        rows[asked] = rescore([(queries[asked], keys)], found, K)[1]
        scanned[asked] = index.underfull(rows[asked], K, limit[asked])
    if scanned.any():
        rows[scanned] = scan([(queries[scanned], keys)], K, limit[scanned])[1]
    return rows


@contextmanager
def flat(keys: np.ndarray) -> Iterator[dict[str, Search]]:
    """Exact searches to compare with: ours, FAISS's, and the bare product with a partition."""
    import faiss

    held = faiss.IndexFlatIP(D)
    for start in range(0, len(keys), 65_536):
        held.add(np.ascontiguousarray(keys[start : start + 65_536]))
    matrix = np.asarray(keys)

    def product(q: np.ndarray) -> np.ndarray:
        if len(q) == 1:
            return np.argpartition(matrix @ q[0], -K)[-K:]
        parts = [np.empty((len(q), 0), np.float32)]
        for start in range(0, len(matrix), 16_384):
            scores = q @ matrix[start : start + 16_384].T
            parts.append(np.partition(scores, -K)[:, -K:])
        return np.hstack(parts)

    yield {
        "scan": lambda q: scan([(q, keys)], K, np.full(len(q), len(keys))),
        "IndexFlatIP": lambda q: held.search(q, K),
        "numpy": product,
    }


def rates(
    ways: dict[str, Search], queries: np.ndarray, size: int, rounds: int, least: float = 0.3
) -> dict[str, float]:
    """Queries a second of every way in batches of `size`, the median of `rounds` in turn."""
    seen: dict[str, list[float]] = {way: [] for way in ways}
    starts = np.arange(0, len(queries) - size + 1, size)
    for turn in range(rounds + 1):
        for way, search in ways.items():
            done, begun = 0, time.perf_counter()
            while not done or time.perf_counter() - begun < least:
                start = starts[(turn + done) % len(starts)]
                search(queries[start : start + size])
                done += 1
            if turn:  # the first one warms up
                seen[way].append(done * size / (time.perf_counter() - begun))
    return {way: statistics.median(values) for way, values in seen.items()}


def by_clock_and_eta(
    index: Index, keys: np.ndarray, queries: np.ndarray, rounds: int
) -> dict[str, float]:
    """Recall and speed for other weights and for prefixes; a scan answers where it has to."""
    n = len(keys)
    figures: dict[str, float] = {}
    shares = {"all": 1.0, "half": 0.5, "quarter": 0.25, "early": 0.1, "first": 0.02}
    print(f"{'eta':>5} {'known':>8} {'recall@10':>9} {'q/s, 256':>9} {'scanned':>8}")
    for eta in (0.5, 0.0, 1.0):
        weighted = np.ascontiguousarray(queries * weights(eta))
        limits = {name: max(1, int(share * n)) for name, share in shares.items()}
        truths = exact(lambda a, b: keys[a:b], sorted(limits.values()), weighted)
        truth = dict(zip(sorted(limits.values()), truths, strict=True))
        for name, at in limits.items():
            limit = np.full(len(queries), at)
            recall, _ = recall_of(answer(index, keys, weighted, limit, eta), truth[at])

            def ask(q: np.ndarray, at: int = at, eta: float = eta) -> np.ndarray:
                return answer(index, keys, q, np.full(len(q), at), eta)

            rate = rates({"index": ask}, weighted, BATCH, min(rounds, 3))["index"]
            exactly = "yes" if index.efforts.scan_first(limit[:1], eta)[0] else "no"
            print(f"{eta:5.2f} {at:8} {recall:9.3f} {rate:9.0f} {exactly:>8}", flush=True)
            label = f"eta_{eta:g}_{name}"
            figures |= {f"recall_{label}": recall, f"qps_{label}": rate}
    # every query at its own clock
    weighted = np.ascontiguousarray(queries * weights(0.5))
    clocks = np.random.default_rng(0).integers(n // 10, n, len(queries))
    begun = time.perf_counter()
    for start in range(0, len(queries), BATCH):
        answer(index, keys, weighted[start : start + BATCH], clocks[start : start + BATCH])
    figures["qps_own_clocks"] = len(queries) / (time.perf_counter() - begun)
    print(f"every query at its own clock: {figures['qps_own_clocks']:.0f} q/s, batches of {BATCH}")
    return figures


def extrapolate(sizes: list[int], rows: list[dict[str, float]]) -> dict[str, float]:
    """What the slopes between the measured sizes say of ten million items."""
    print("\nten million items, by the slopes of the measured sizes (log against log)\n")
    out = {}
    wanted = {
        "fill_s": [row["fill_s"] for row in rows],
        "tune_s": [row["tune_s"] for row in rows],
        "index_mb": [row["bytes_per_item"] * row["items"] / 1e6 for row in rows],
        "anon_mb": [max(row["anon_mb"], 1) for row in rows],
        "qps": [row["qps"] for row in rows],
        "qps_batch_1": [row["qps_batch_1"] for row in rows],
    }
    for name, values in wanted.items():
        slope, level = np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-3)), 1)
        out[f"{name}_at_10m"] = float(np.exp(level + slope * np.log(TEN_MILLION)))
        print(f"{name:12} exponent {slope:5.2f} {out[f'{name}_at_10m']:10.0f}")
    print(f"{'keys_mb':12} {'':14} {4 * D * TEN_MILLION / 1e6:10.0f} (memory-mapped)")
    return out


def resident(path: Path) -> float:
    """MB that a process has to itself once it has opened the index and searched it."""
    if not Path("/proc/self/status").exists():
        return 0.0
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(path), str(D)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[0]) / 1e3
