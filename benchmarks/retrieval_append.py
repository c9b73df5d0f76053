"""What does it cost to add one percent to a bank? Beside building and saving all of it anew.

One bank lies in a folder; 1 % more items are appended to it, then again 1 % in a hundred appends of
0.01 %. The rebuild makes a bank of the same items from their keys and values and saves it. Both
start with everything in memory and end with everything in the folder. The answers of the two banks
are compared: ids and scores.
"""

import argparse
import cProfile
import pstats
import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.banks import ids_of, items_over_days, keys_like_real_ones, seconds
from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys

LAYOUT = {"trajectory": 64, "content": 192}
ITEMS, QUICK_ITEMS = 500_000, 50_000
MANY = 100  # appends in a row
QUERIES, K = 256, 10
STEPS = {  # function: what it does, for the account of the time
    "read": "open the bank",
    "_segment": "marks, groups, keys of the new items",
    "merged": "merge small segments",
    "save": "write the segment",
    "write": "write the manifest",
    "_sync": "make files and names last",
    "rmtree": "remove merged segments",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--items", type=int, help=f"items of the bank (default {ITEMS})")
    parser.add_argument("--rounds", type=int, default=3, help="appends and rebuilds timed (3)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an append and of a rebuild, their ratio, and whether the answers are the same."""
    n = options.items or (QUICK_ITEMS if options.quick else ITEMS)
    rounds = 1 if options.quick else options.rounds
    more = n // 100
    world = _World(np.random.default_rng(0), n + 2 * more)
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        old, grown, anew = (Path(scratch) / name for name in ("old", "grown", "anew"))
        world.bank(0, n).save(old)
        world.append(old, n, 0)  # loads and compiles what is needed, adds nothing
        append_s, rebuild_s = [], []
        for _ in range(rounds):
            shutil.rmtree(grown, ignore_errors=True)
            shutil.copytree(old, grown)
            append_s.append(seconds(lambda: world.append(grown, n, more))[0])
            rebuild_s.append(seconds(lambda: world.bank(0, n + more).save(anew))[0])
        once = compared(grown, anew, world, n + more)
        step = more // MANY
        in_a_row = [
            seconds(partial(world.append, grown, n + more + i * step, step))[0] for i in range(MANY)
        ]
        rebuild_s.append(seconds(lambda: world.bank(0, n + more + MANY * step).save(anew))[0])
        many = compared(grown, anew, world, n + more + MANY * step)
        segments = [entry["items"] for entry in Bank.open(grown).manifest.segments]
        shutil.rmtree(grown)
        shutil.copytree(old, grown)
        account = where_the_time_goes(lambda: world.append(grown, n, more))

    append, rebuild = statistics.median(append_s), statistics.median(rebuild_s)
    total = sum(in_a_row)
    print(f"{n} items, {sum(LAYOUT.values())} dimensions\n")
    print(f"{'':36} {'s':>9} {'/ rebuild':>10}")
    print(f"{'rebuild of all, and save':36} {rebuild:9.3f} {1:10.4f}")
    print(f"{'append of 1 %':36} {append:9.3f} {append / rebuild:10.4f}")
    print(f"{f'{MANY} appends of 0.01 %, all':36} {total:9.3f} {total / rebuild:10.4f}")
    print(f"{'  the typical one':36} {statistics.median(in_a_row):9.3f}")
    print(f"{'  the longest':36} {max(in_a_row):9.3f}")
    print(f"\nsegments then: {', '.join(map(str, segments))}")
    for name, (_, one, two) in (("one append", once), (f"{MANY} appends", many)):
        print(f"search of {QUERIES} queries after {name}: {one:.3f} s, rebuilt {two:.3f} s")
    print("\nwhere the time of one append goes (under a profiler):")
    for what, share in account.items():
        print(f"  {what:36} {1e3 * share:8.1f} ms")
    return {
        "items": n,
        "append_s": round(append, 4),
        "rebuild_s": round(rebuild, 3),
        "ratio": round(append / rebuild, 5),
        "many_s": round(total, 3),
        "many_median_s": round(statistics.median(in_a_row), 4),
        "many_max_s": round(max(in_a_row), 4),
        "segments": len(segments),
        "search_s": round(many[1], 4),
        "search_rebuilt_s": round(many[2], 4),
        "identical": once[0] and many[0],
    }


class _World:
    """Items, keys and values to take parts of."""

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self.items = items_over_days(rng, n, 365.0)
        self.keys = keys_like_real_ones(rng, n, LAYOUT)
        self.values: dict[str, np.ndarray] = {
            "increment": rng.normal(size=(n, 3)),
            "curve": rng.normal(size=(n, 16)).astype(np.float32),
        }
        self.queries = keys_like_real_ones(np.random.default_rng(1), QUERIES, LAYOUT)
        self.clocks = items_over_days(np.random.default_rng(2), QUERIES, 365.0)["known_at"]

    def part(self, start: int, size: int) -> tuple[pl.DataFrame, Keys, dict[str, np.ndarray]]:
        """So many items from `start` on."""
        rows = slice(start, start + size)
        content = {m: np.asarray(key)[rows] for m, key in self.keys.content.items()}
        keys = Keys(self.keys.trajectory[rows], content)
        return self.items[rows], keys, {name: value[rows] for name, value in self.values.items()}

    def bank(self, start: int, size: int) -> Bank:
        """A bank of so many items."""
        return Bank.build(*self.part(start, size))

    def append(self, folder: Path, start: int, size: int) -> Bank:
        """Open the bank and add so many items."""
        return Bank.open(folder).append(*self.part(start, size))


def compared(grown: Path, anew: Path, world: _World, n: int) -> tuple[bool, float, float]:
    """Whether both answer the same, and the seconds that each takes."""
    one, two = Bank.open(grown), Bank.open(anew)
    asked = world.items[:QUERIES].with_columns(video_id="a copy of " + pl.col("video_id"))
    found, times = [], []
    for bank in (one, two):
        exclude = bank.alike(asked)
        search = partial(
            bank.search, world.queries, K, known_by=world.clocks.to_numpy(), exclude=exclude
        )
        search()  # reads the keys
        took, answer = seconds(search)
        times.append(took)
        found.append((ids_of(bank, answer.index), answer.score))
    same = len(one) == len(two) == n
    same &= all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    return same, times[0], times[1]


def where_the_time_goes(work: Any) -> dict[str, float]:
    """Seconds within each step of an append, by what the step does; the rest is `other`."""
    profile = cProfile.Profile()
    profile.runcall(work)
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    within: dict[str, float] = {}
    for (file, _, name), (_, _, _, cumulative, _) in stats.items():
        ours = "m3tr/memory" in file or (name == "rmtree" and "shutil" in file)
        if ours and name in STEPS:
            within[name] = max(within.get(name, 0.0), cumulative)
    total = max(cumulative for _, _, _, cumulative, _ in stats.values())
    account = {what: within[name] for name, what in STEPS.items() if name in within}
    return account | {"other": max(0.0, total - sum(account.values())), "total": total}
