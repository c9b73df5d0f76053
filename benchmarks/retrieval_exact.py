"""Are the neighbours those of a brute-force search in float64, at every clock?

Queries are the training, validation and test videos of a workspace, the bank is that of its
training videos: the repository's own where its stages have run, otherwise a simulated world. Each
query asks at every moment at which the bank grows (and before the first), with each eta, each
choice of weights, with each part of its key absent, with and without its near-duplicates. The
answers must be the same, among equal scores the later known first; two items may change places only
where their scores differ by less than float32 can tell, and such places are counted.

Then the time of one search with a clock a query, on a larger simulated bank: ours, numpy, and a
flat faiss index with a selector a clock.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.banks import items_over_days, joined, keys_like_real_ones, seconds
from benchmarks.workspaces import REPOSITORY
from m3tr.errors import InputError
from m3tr.memory.bank import Bank
from m3tr.memory.keys import KeyMaker, Keys
from m3tr.workspace import BANK

ETAS = (0.0, 0.25, 0.5, 1.0)
WEIGHTS = ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.2, 3.0, 0.7), (0.0, 0.0, 0.0))
K = 10
TIE, ROUNDING = 1e-9, 2e-6  # of float64 scores that are equal; of those that float32 cannot tell
TIMED, QUICK_TIMED = (20_000, 2_000), (5_000, 500)  # items, queries

World = tuple[str, Bank, Keys, pl.DataFrame]  # its name, bank, keys and identity of all videos


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--workspace", type=Path, default=REPOSITORY, help="where stages have run")
    parser.add_argument("--simulated", action="store_true", help="a simulated world all the same")
    parser.add_argument("--rounds", type=int, default=5, help="of the timed searches (5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Whether the answers are the same, the largest difference of a score, and times."""
    name, bank, keys, videos = world_of(None if options.simulated else options.workspace)
    if options.quick:
        some = np.arange(0, len(keys), 8)
        keys, videos = keys.select(some), videos[some.tolist()]
    checked = Check()
    for case in cases(keys, bank.manifest.modalities, options.quick):
        checked.compare(bank, videos, *case)
    print(f"{name}: {len(bank)} items, {len(keys)} queries, {len(moments(bank))} clocks")
    print(f"{checked.answers} answers of up to {K} neighbours, {checked.places} places:")
    print(f"  other neighbours                     {checked.wrong}")
    print(f"  places moved by rounding             {checked.moved}")
    print(f"  greatest difference of a score       {checked.difference:.2g}\n")
    times = timed(*(QUICK_TIMED if options.quick else TIMED), options.rounds)
    return {
        "world": name,
        "identical": checked.wrong == 0 and checked.difference <= 1e-5,
        "max_score_difference": checked.difference,
        "answers": checked.answers,
        "comparisons": checked.places,
        "moved_by_rounding": checked.moved,
    } | times


def world_of(workspace: Path | None) -> World:
    """The bank of a workspace and all its videos, or a simulated one."""
    from m3tr.model.remember import items_of
    from m3tr.workspace import read_arrays, read_features, read_tables, read_x_s

    if workspace is None:
        return simulated()
    try:
        bank = Bank.open(workspace / BANK)
        maker = KeyMaker.from_arrays(read_arrays(workspace / BANK / "keys.safetensors", "bank"))
        videos, _, examples = read_tables(workspace)
        keys = maker.keys(read_x_s(workspace), read_features(workspace, examples).embeddings())
    except InputError as error:
        print(f"no workspace ({error}); a simulated world instead\n")
        return simulated()
    source = json.dumps(bank.manifest.provenance[0].get("dataset", workspace.name))
    return f"workspace {source}", bank, keys, items_of(examples, videos)


def simulated() -> World:
    """400 videos, the first 250 of them in the bank; some parts of keys are absent."""
    rng = np.random.default_rng(7)
    layout = {"trajectory": 64, "audio": 88, "text": 256, "visual": 128}
    videos, keys = items_over_days(rng, 400, 30.0), keys_like_real_ones(rng, 400, layout)
    for key in (keys.trajectory, *keys.content.values()):
        key[rng.random(400) < 0.1] = 0
    past = np.arange(250)
    return "simulated", Bank.build(videos[:250], keys.select(past), {}), keys, videos


def cases(
    keys: Keys, modalities: list[str], quick: bool
) -> Iterator[tuple[Keys, float, dict[str, float], bool]]:
    """Queries, eta, weights of the modalities, and whether near-duplicates are left out."""
    blank = np.zeros_like
    lacking = [keys, Keys(blank(keys.trajectory), keys.content)]
    lacking += [Keys(keys.trajectory, {m: k for m, k in keys.content.items() if m != gone})
                for gone in modalities]  # fmt: skip
    lacking.append(Keys(keys.trajectory, {m: blank(key) for m, key in keys.content.items()}))
    choices = WEIGHTS[::2] if quick else WEIGHTS
    weights = [dict(zip(modalities, itertools.cycle(w), strict=False)) for w in choices]
    for eta, given in itertools.product(ETAS, weights):
        yield keys, eta, given, True
    yield keys, 0.5, weights[0], False
    for queries, eta in itertools.product(lacking[1:], ETAS):
        yield queries, eta, weights[0], True


class Check:
    """Comparisons with the brute-force search so far."""

    def __init__(self) -> None:
        self.answers = self.places = self.wrong = self.moved = 0
        self.difference = 0.0

    def compare(
        self, bank: Bank, videos: pl.DataFrame, queries: Keys, eta: float,
        weights: Mapping[str, float], leave_out: bool,
    ) -> None:  # fmt: skip
        """Every query at every clock."""
        exclude = bank.alike(videos) if leave_out else None
        scores = definition(bank, queries, eta, weights)
        # from the best, among equal scores the later known: items lie in the order of `known_at`
        place = np.broadcast_to(np.arange(len(bank)), scores.shape)
        order = np.lexsort((-place, -np.round(scores / TIE)), axis=1)
        known_at, allowed = bank.items["known_at"].to_numpy(), np.ones(scores.shape, bool)
        for q, rows in enumerate(exclude or []):
            allowed[q, rows] = False
        for clock in moments(bank):
            here = allowed & (known_at <= clock)
            in_order = np.take_along_axis(here, order, 1)
            first = np.argsort(~in_order, axis=1, kind="stable")[:, :K]
            found = np.take_along_axis(in_order, first, 1)
            right = np.where(found, np.take_along_axis(order, first, 1), -1)
            asked = np.full(len(queries), clock)
            ours = bank.search(queries, K, eta, weights, known_by=asked, exclude=exclude)
            self._count(ours.index, ours.score, right, scores)

    def _count(
        self, ours: np.ndarray, score: np.ndarray, right: np.ndarray, scores: np.ndarray
    ) -> None:
        own, other = (np.take_along_axis(scores, np.maximum(i, 0), 1) for i in (ours, right))
        off = np.abs(score - np.where(ours >= 0, own, 0.0))
        unlike = ours != right
        gap = np.abs(own - other)
        # equal scores leave no room: there the order is told
        excused = unlike & (ours >= 0) & (right >= 0) & (gap > 0) & (gap < ROUNDING)
        self.answers += len(ours)
        self.places += ours.size
        self.moved += int(excused.sum())
        self.wrong += int((unlike & ~excused).sum())
        self.difference = max(self.difference, float(off.max(initial=0.0)))


def definition(bank: Bank, queries: Keys, eta: float, weights: Mapping[str, float]) -> np.ndarray:
    """The scores (Q, N) as docs/retrieval.md writes them, in float64."""
    items = bank.keys
    there = {m: key.any(1) for m, key in queries.content.items()}
    total = sum((weights[m] * there[m] for m in there), np.zeros(len(queries)))
    content = np.zeros((len(queries), len(bank)))
    for m, key in queries.content.items():
        share = weights[m] / np.where(total > 0, total, 1.0)
        content += share[:, None] * (key.astype(float) @ items.content[m].astype(float).T)
    trajectory = queries.trajectory.astype(float) @ items.trajectory.astype(float).T
    side = np.full((len(queries), 1), float(eta))
    if 0 < eta < 1:  # a side that a query lacks gives its share to the other
        moved, told = queries.trajectory.any(1), total > 0
        side[moved & ~told], side[~moved & told] = 1.0, 0.0
    return side * trajectory + (1 - side) * content


def moments(bank: Bank) -> np.ndarray:
    """Every clock that makes a difference: when an item became known, and before the first."""
    known_at = np.unique(bank.items["known_at"].to_numpy())
    return np.concatenate([known_at[:1] - np.timedelta64(1, "us"), known_at])


def timed(n: int, n_queries: int, rounds: int) -> dict[str, float]:
    """Seconds of one search with a clock a query, ours and the peers'."""
    rng = np.random.default_rng(0)
    layout = {"trajectory": 64, "content": 472}
    bank = Bank.build(items_over_days(rng, n, 365.0), keys_like_real_ones(rng, n, layout), {})
    queries = keys_like_real_ones(rng, n_queries, layout)
    known_at = bank.items["known_at"].to_numpy()
    clocks = items_over_days(rng, n_queries, 365.0)["known_at"].to_numpy()
    limit = np.searchsorted(known_at, clocks, side="right")
    items, asked = joined(bank.keys, 0.5), joined(queries, 0.5)
    wide = items.astype(float)

    def by_numpy() -> np.ndarray:
        scores = asked.astype(float) @ wide.T
        scores[np.arange(n) >= limit[:, None]] = -np.inf
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        return np.take_along_axis(best, order, 1)

    import faiss

    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)

    def by_faiss() -> np.ndarray:
        out = np.empty((n_queries, K), np.int64)
        for stop in np.unique(limit).tolist():
            rows = np.flatnonzero(limit == stop)
            chosen, selector = faiss.SearchParameters(), faiss.IDSelectorRange(0, stop)
            chosen.sel = selector  # faiss does not keep it alive
            out[rows] = index.search(asked[rows], K, params=chosen)[1]
        return out

    ways = {
        "ours": lambda: bank.search(queries, K, 0.5, known_by=clocks).index,
        "numpy": by_numpy,
        "faiss": by_faiss,
    }
    ways["ours"]()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(seconds(way)[0])
    typical = {name: statistics.median(t) for name, t in times.items()}
    print(f"{n_queries} queries, each on its own clock, of {n} items, {items.shape[1]} dimensions")
    for name, value in typical.items():
        print(f"  {name:8} {1e3 * value:9.1f} ms {value / typical['ours']:8.2f} / ours")
    figures = {f"{name}_ms": round(1e3 * value, 2) for name, value in typical.items()}
    for name in ("numpy", "faiss"):
        figures[f"vs_{name}"] = round(typical[name] / typical["ours"], 2)
    return figures
