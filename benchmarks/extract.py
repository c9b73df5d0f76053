"""How fast are features of a ViT? Our extraction beside OpenCV, frame by frame through the network.

A checkpoint of ViT-base size with random weights, pictures only, the same six frames of every file.
Seconds hold the loading of the checkpoint and, for ours, the start of the processes; imports count
for nobody. Alternating repeats in one run; medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import clips
from benchmarks.workspaces import REPOSITORY
from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings, VisualSettings

SCRIPT = REPOSITORY / "benchmarks" / "peers" / "opencv_frames.py"
FILES, REPEATS = 16, 3
QUICK_FILES, QUICK_REPEATS = 3, 1
WAYS = {"seek": "OpenCV, seeking", "through": "OpenCV, reading through"}
OURS = "m3tr"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--files", type=int, help=f"videos (default {FILES})")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time the three ways; `speedup` and `speedup_vs_read_through`: theirs / ours."""
    n = options.files or (QUICK_FILES if options.quick else FILES)
    made = clips.QUICK if options.quick else clips.MICRO_VIDEOS
    plain = [clip for clip in made if clip.codec == "libx264"]  # OpenCV guesses WebM's frame count
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        checkpoint = vit(Path(scratch) / "vit")
        masters = clips.encode(Path(scratch) / "masters", plain)
        files = clips.copies(masters, Path(scratch) / "media", n)
        return compare(checkpoint, files, QUICK_REPEATS if options.quick else REPEATS)


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
    seconds: dict[str, list[float]] = {OURS: [], **{name: [] for name in WAYS.values()}}
    reading: dict[str, float] = {}
    for _ in range(repeats):
        taken, tokens = ours(checkpoint, files)
        seconds[OURS].append(taken)
        difference = 0.0
        for way, name in WAYS.items():
            report, theirs = usual(checkpoint, files, way)
            seconds[name].append(report["seconds"])
            reading[name] = report["reading_s"]
            difference = max(difference, relative_difference(tokens, theirs))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'way':24} {'seconds':>8} {'videos/s':>9} {'reading s':>10} {'/ m3tr':>7}")
    for name, value in medians.items():
        own = f"{reading[name]:10.2f}" if name in reading else f"{'-':>10}"
        rate, ratio = len(files) / value, value / medians[OURS]
        print(f"{name:24} {value:8.2f} {rate:9.3f} {own} {ratio:7.2f}")
    print(f"largest relative difference of a token: {difference:.2e}")
    speed = {name: round(len(files) / value, 4) for name, value in medians.items()}
    return {
        "speedup": round(medians[WAYS["seek"]] / medians[OURS], 3),
        "speedup_vs_read_through": round(medians[WAYS["through"]] / medians[OURS], 3),
        "max_relative_difference": float(f"{difference:.3g}"),
        "videos_per_s": speed,
        "videos": len(files),
    }


def ours(checkpoint: Path, files: Sequence[Path]) -> tuple[float, list[np.ndarray]]:
    """Seconds of our extraction, and the tokens (T, D) by file; sound and text are given."""
    none = [[0.0]] * len(files)
    columns = {"video_id": [p.stem for p in files], "media": [p.name for p in files]}
    videos = pl.DataFrame(columns | {"emb_audio": none, "emb_text": none})
    settings = FeatureSettings(visual=VisualSettings(encoder=str(checkpoint)))
    start = time.perf_counter()
    features, quarantine, _ = extract(videos, files[0].parent, settings)
    taken = time.perf_counter() - start
    assert quarantine.is_empty(), quarantine
    pairs = zip(features.tokens["visual"], features.mask["visual"], strict=True)
    return taken, [tokens[mask] for tokens, mask in pairs]


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
