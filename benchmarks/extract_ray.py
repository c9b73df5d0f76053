"""What does Ray cost and give? The same extraction on one process, on two, and on Ray actors.

Default encoders, no cache, micro-videos. Seconds hold the start of processes and of Ray.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import clips
from benchmarks.decode_floor import timed
from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features

FILES, QUICK_FILES = 60, 8
WAYS = (("local", 1), ("local", 2), ("ray", 1), ("ray", 2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--files", type=int, help=f"videos (default {FILES})")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time every engine and number of workers; `speedup`: one local process / two Ray actors."""
    n = options.files or (QUICK_FILES if options.quick else FILES)
    made = clips.QUICK if options.quick else clips.MICRO_VIDEOS
    seconds: dict[str, float] = {}
    first: Features | None = None
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        masters = clips.encode(Path(scratch) / "masters", made)
        files = clips.copies(masters, Path(scratch) / "media", n)
        print(f"{n} videos\n\n{'engine':8} {'workers':>7} {'seconds':>8} {'CPU s':>8} {'x':>6}")
        for engine, workers in WAYS:
            settings = FeatureSettings.model_validate({"engine": engine, "workers": workers})
            results: list[Features] = []
            cost = timed(partial(_extract, files, settings, results))
            seconds[f"{engine}, {workers}"] = cost.wall
            gain = seconds["local, 1"] / cost.wall
            print(f"{engine:8} {workers:7} {cost.wall:8.2f} {cost.cpu:8.2f} {gain:6.2f}")
            first = first or results[0]
            _refuse_other(first, results[0])
    one = seconds["local, 1"]
    return {
        "speedup": round(one / seconds["ray, 2"], 3),
        "speedup_vs_one_actor": round(seconds["ray, 1"] / seconds["ray, 2"], 3),
        "speedup_local": round(one / seconds["local, 2"], 3),
        "equal": True,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _extract(files: list[Path], settings: FeatureSettings, results: list[Features]) -> None:
    names = [path.name for path in files]
    videos = pl.DataFrame({"video_id": names, "media": names})
    features, quarantine, _ = extract(videos, files[0].parent, settings)
    assert quarantine.is_empty(), quarantine
    results.append(features)


def _refuse_other(first: Features, other: Features) -> None:
    for m, tokens in first.tokens.items():
        if not np.array_equal(tokens, other.tokens[m]):
            raise RuntimeError(f"{m}: the engines give other features")
