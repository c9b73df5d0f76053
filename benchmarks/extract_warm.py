"""What does a grown dataset cost? The features stage over all files, and again with 1 % more.

Every run is a process of its own, and its start and imports count, as in the pipeline. The files
are older than two seconds, as files of a dataset are: younger ones are read twice.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import clips
from benchmarks.fresh import Run, extraction

FILES, QUICK_FILES = 500, 20
SHARE = 0.01  # of the files are new
SETTLED_SECONDS = 2.5
TEXT = {"text": {"max_characters": 12}}  # other settings of the text encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--files", type=int, help=f"of the first run (default {FILES})")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time the runs; `ratio`: with 1 % more files / the first. `decoded` by run."""
    n = options.files or (QUICK_FILES if options.quick else FILES)
    made = clips.QUICK if options.quick else clips.MICRO_VIDEOS
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        runs = grow(Path(scratch), made, n)
    cold = runs["cold"]
    print(
        f"{'run':12} {'files':>6} {'decoded':>8} {'texts':>6} {'seconds':>8} {'imports':>8} ratio"
    )
    for name, found in runs.items():
        report = found.report
        print(
            f"{name:12} {report['media_files']:6} {report['media_decoded']:8} "
            f"{report['texts_encoded']:6} {found.seconds:8.2f} {found.import_s:8.2f} "
            f"{found.seconds / cold.seconds:.4f}"
        )
    return {
        "ratio": round(runs["1 % more"].seconds / cold.seconds, 4),
        "ratio_unchanged": round(runs["unchanged"].seconds / cold.seconds, 4),
        "cold_s": round(cold.seconds, 3),
        "warm_s": round(runs["1 % more"].seconds, 3),
        "import_s": round(runs["1 % more"].import_s, 3),
        "decoded": {name: found.report["media_decoded"] for name, found in runs.items()},
        "texts_encoded": {name: found.report["texts_encoded"] for name, found in runs.items()},
        "files": n,
    }


def grow(scratch: Path, made: tuple[clips.Clip, ...], n: int) -> dict[str, Run]:
    """The runs by name; all but the first find a cache."""
    masters = clips.encode(scratch / "masters", made)
    files = clips.copies(masters, scratch / "media", n)
    time.sleep(SETTLED_SECONDS)
    cache, out = scratch / "cache", scratch / "features"
    runs = {"cold": extraction(out, files, cache)}
    files += clips.copies(masters, scratch / "media", max(1, round(SHARE * n)), start=n)
    time.sleep(SETTLED_SECONDS)
    runs["1 % more"] = extraction(out, files, cache)
    runs["unchanged"] = extraction(out, files, cache)
    runs["other texts"] = extraction(out, files, cache, TEXT)
    return runs
