"""How fast are features of a ViT? Our extraction beside OpenCV, frame by frame through the network.

A checkpoint of ViT-base size with random weights, pictures only, the same six frames of every file.
Seconds hold the loading of the checkpoint and, for ours, the start of the processes; imports count
for nobody. Alternating repeats in one run; medians. Half precision is another row: faster, and not
the same features to a thousandth.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import clips
from benchmarks.decode_floor import Cost, timed
from benchmarks.workspaces import REPOSITORY
from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features

SCRIPT = REPOSITORY / "benchmarks" / "peers" / "opencv_frames.py"
FILES, LONG_FILES, REPEATS = 16, 6, 3
QUICK_FILES, QUICK_REPEATS = 3, 1
VIT_SMALL = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}  # for --quick
WAYS = {"seek": "OpenCV, seeking", "through": "OpenCV, reading through"}
OURS, HALF = "m3tr", "m3tr, bfloat16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--files", type=int, help=f"videos (default {FILES})")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time the ways on short videos, then on long ones; `speedup`, ...: theirs / ours."""
    n = options.files or (QUICK_FILES if options.quick else FILES)
    corpora = {"8 to 20 s": (clips.MICRO_VIDEOS, n), "45 s": (clips.LONG, min(n, LONG_FILES))}
    if options.quick:
        corpora = {"3 to 9 s": (clips.QUICK, n)}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        checkpoint = vit(Path(scratch) / "vit", **(VIT_SMALL if options.quick else {}))
        for place, (name, (made, count)) in enumerate(corpora.items()):
            folder = Path(scratch) / str(place)
            plain = [c for c in made if c.codec == "libx264"]  # OpenCV guesses WebM's frame count
            files = clips.copies(clips.encode(folder / "masters", plain), folder / "media", count)
            print(f"videos of {name}")
            found = compare(checkpoint, files, QUICK_REPEATS if options.quick else REPEATS)
            figures = figures | {name: found} if figures else found
    return figures


def vit(folder: Path, **sizes: Any) -> Path:
    """Write a ViT with random weights and its image processor; the size of ViT-base by default."""
    import torch
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    ViTModel(ViTConfig(**sizes), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    return folder


def compare(checkpoint: Path, files: Sequence[Path], repeats: int) -> dict[str, Any]:
    """Times and features of every way; prints the table."""
    ours(checkpoint, files[:1])  # what is imported late is imported
    costs: dict[str, list[Cost]] = {name: [] for name in (OURS, HALF, *WAYS.values())}
    reading: dict[str, list[float]] = {name: [] for name in WAYS.values()}
    difference = of_half = 0.0
    for _ in range(repeats):
        cost, tokens = ours(checkpoint, files)
        costs[OURS].append(cost)
        cost, rough = ours(checkpoint, files, "bfloat16")
        costs[HALF].append(cost)
        of_half = max(of_half, relative_difference(rough, tokens))
        for way, name in WAYS.items():
            report, theirs = usual(checkpoint, files, way)
            costs[name].append(Cost(report["seconds"], report["cpu_s"]))
            reading[name].append(report["reading_s"])
            difference = max(difference, relative_difference(tokens, theirs))
    medians = {
        name: Cost(*(statistics.median(part) for part in zip(*values, strict=True)))
        for name, values in costs.items()
    }
    print(f"{len(files)} videos, medians of {repeats} repeats in turn\n")
    print(f"{'way':24} {'seconds':>8} {'CPU s':>8} {'videos/s':>9} {'reading s':>10} {'/ m3tr':>7}")
    for name, cost in medians.items():
        own = f"{statistics.median(reading[name]):10.2f}" if name in reading else f"{'-':>10}"
        row = f"{name:24} {cost.wall:8.2f} {cost.cpu:8.2f} {len(files) / cost.wall:9.3f} {own}"
        print(f"{row} {cost.wall / medians[OURS].wall:7.2f}")
    print(f"\nlargest relative difference of a token: {difference:.2e}; bfloat16 {of_half:.2e}\n")
    mine, seek, through = medians[OURS], medians[WAYS["seek"]], medians[WAYS["through"]]
    return {
        "speedup": round(seek.wall / mine.wall, 3),
        "speedup_vs_read_through": round(through.wall / mine.wall, 3),
        "speedup_cpu": round(seek.cpu / mine.cpu, 3),
        "speedup_bfloat16": round(seek.wall / medians[HALF].wall, 3),
        "max_relative_difference": float(f"{difference:.3g}"),
        "max_relative_difference_bfloat16": float(f"{of_half:.3g}"),
        "videos_per_s": {n: round(len(files) / cost.wall, 4) for n, cost in medians.items()},
        "videos": len(files),
    }


def ours(
    checkpoint: Path, files: Sequence[Path], precision: str = "float32"
) -> tuple[Cost, list[np.ndarray]]:
    """What our extraction costs, and its tokens (T, D) by file; sound and text are given."""
    none = [[0.0]] * len(files)
    columns = {"video_id": [p.stem for p in files], "media": [p.name for p in files]}
    videos = pl.DataFrame(columns | {"emb_audio": none, "emb_text": none})
    settings = FeatureSettings.model_validate(
        {"visual": {"encoder": str(checkpoint)}, "precision": precision}
    )
    results: list[Features] = []

    def call() -> None:
        features, quarantine, _ = extract(videos, files[0].parent, settings)
        assert quarantine.is_empty(), quarantine
        results.append(features)

    cost = timed(call)
    features = results[0]
    pairs = zip(features.tokens["visual"], features.mask["visual"], strict=True)
    return cost, [tokens[mask] for tokens, mask in pairs]


def usual(
    checkpoint: Path, files: Sequence[Path], way: str
) -> tuple[dict[str, float], list[np.ndarray]]:
    """What the script reports, and its tokens (T, D) by file."""
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        out = Path(scratch) / "tokens.npz"
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(checkpoint), str(out), *map(str, files)]
            + ["--way", way],
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{SCRIPT.name} failed: {done.stderr[-2000:]}")
        with np.load(out) as tokens:
            found = [tokens[f"arr_{i}"] for i in range(len(files))]
        return json.loads(done.stdout.splitlines()[-1]), found


def relative_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest ||a - b|| / ||b|| over all tokens.

    Raises
    ------
    RuntimeError
        Where the two ways give another number of tokens, or tokens of another length.
    """
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            raise RuntimeError(f"tokens {a.shape} of ours, {b.shape} of theirs")
        distance = np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)
        worst = max(worst, float(distance.max()))
    return worst
