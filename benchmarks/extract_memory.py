"""Does memory grow with the dataset? Peaks of the features stage, over ten times more videos.

Small clips of distinct bytes; the stage runs in a process of its own, from an empty cache. Forty
different ones are encoded: tokens of fewer repeat so often that files of them shrink to nothing.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import clips
from benchmarks.fresh import Run, extraction

VIDEOS, QUICK_VIDEOS = (1_000, 10_000), (100, 1_000)
ENCODED = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 = one a processor")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Peaks in MB; `ratio`: of main process and workers together, many videos / few."""
    sizes = QUICK_VIDEOS if options.quick else VIDEOS
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        runs = {n: peaks(Path(scratch), n, options.workers) for n in sizes}
    few, many = (runs[n] for n in sizes)
    print(
        f"{'videos':>8} {'main MB':>8} {'workers MB':>10} {'together':>9} {'at once':>8} {'s':>7}"
    )
    for n, found in runs.items():
        print(
            f"{n:8} {found.main_mb:8.1f} {found.workers_mb:10.1f} {found.total_mb:9.1f} "
            f"{found.polled_mb:8.1f} {found.seconds:7.1f}"
        )
    figures = {
        "ratio": round(many.total_mb / few.total_mb, 3),
        "ratio_main": round(many.main_mb / few.main_mb, 3),
        "ratio_workers": round(many.workers_mb / few.workers_mb, 3),
        "ratio_polled": round(many.polled_mb / few.polled_mb, 3),
        "main_mb": {n: round(found.main_mb, 1) for n, found in runs.items()},
        "workers_mb": {n: round(found.workers_mb, 1) for n, found in runs.items()},
    }
    print("ratio: together {ratio}, main {ratio_main}, workers {ratio_workers}".format(**figures))
    return figures


def peaks(scratch: Path, n: int, processes: int = 0) -> Run:
    """One extraction of `n` small clips from an empty cache."""
    some = (clips.SMALL[i % len(clips.SMALL)] for i in range(min(n, ENCODED)))
    several = [replace(clip, name=f"{clip.name}-{i}") for i, clip in enumerate(some)]
    masters = clips.encode(scratch / "masters", several)
    files = clips.copies(masters, scratch / "media", n)
    found = extraction(scratch / "features", files, scratch / "cache", {"workers": processes})
    assert found.report["media_decoded"] == n, found.report
    for name in ("features", "cache", "media"):
        shutil.rmtree(scratch / name)
    return found
