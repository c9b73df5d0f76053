"""How far is extraction from the cost of decoding? Our stage beside PyAV alone on the same files.

Alternating repeats in one run, each way with processes of its own whose start counts; medians.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from benchmarks import clips, floor
from benchmarks.workspaces import REPOSITORY
from m3tr.features.engine import workers
from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings

FILES, REPEATS = 20, 5
QUICK_FILES, QUICK_REPEATS = 6, 2
KIND_REPEATS = 3  # of each kind alone
MIXED, SAMPLE = "micro-videos", "sample"
FLOORS = {  # by their names in the JSON object
    "decode all": "ratio",
    "sampled frames": "ratio_sampled",
    "sampled, sound": "ratio_sampled_sound",
}


class Cost(NamedTuple):
    """Seconds of one pass over the files: on the wall, and of all processors."""

    wall: float
    cpu: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 = one a processor")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time extraction and the floors; `ratio`, `ratio_cpu`, ... of the first corpus, then of each.

    The corpora: all kinds of micro-videos, each kind alone (not with `--quick`), the sample.
    """
    n, repeats = (QUICK_FILES, QUICK_REPEATS) if options.quick else (FILES, REPEATS)
    settings = FeatureSettings(workers=options.workers)
    figures: dict[str, Any] = {"workers": workers(settings)}
    with tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        made = clips.QUICK if options.quick else clips.MICRO_VIDEOS
        masters = clips.encode(Path(scratch) / "masters", made)
        corpora = {MIXED: clips.copies(masters, Path(scratch) / "mixed", n)}
        if not options.quick:
            for i, kind in enumerate(sorted({clip.kind for clip in made})):
                some = [m for m, clip in zip(masters, made, strict=True) if clip.kind == kind]
                corpora[kind] = clips.copies(some, Path(scratch) / f"kind-{i}", n // 2)
        media = sorted((REPOSITORY / "data" / "media").glob("*.mp4"))
        if media:
            corpora[SAMPLE] = whole(media[:60] if options.quick else media)
        costs(corpora[MIXED][:1], settings, 1)  # what is imported late is imported
        print(f"{workers(settings)} processes, medians of {repeats} repeats in turn\n")
        print(
            f"{'corpus':14} {'files':>5} {'MB':>6} {'way':15} {'wall s':>7} {'CPU s':>7} "
            f"{'wall, ours /':>12} {'CPU, ours /':>12}"
        )
        for name, paths in corpora.items():
            times = repeats if name in (MIXED, SAMPLE) else KIND_REPEATS
            found = costs(paths, settings, times)
            figures[name] = ratios(found) | {"files": len(paths)}
            show(name, paths, found)
    if SAMPLE not in corpora:
        print(f"{SAMPLE}: left out, data/media is absent (dvc pull data)")
    return {key: value for key, value in figures[MIXED].items() if "ratio" in key} | figures


def whole(paths: Sequence[Path]) -> list[Path]:
    """The files that are not broken: the sample has a few of those on purpose."""
    videos = pl.DataFrame({"video_id": [p.name for p in paths], "media": [p.name for p in paths]})
    _, quarantine, _ = extract(videos, paths[0].parent)
    broken = set(quarantine["video_id"])
    return [path for path in paths if path.name not in broken]


def costs(paths: Sequence[Path], settings: FeatureSettings, repeats: int) -> dict[str, Cost]:
    """Medians by way; the ways take turns.

    Raises
    ------
    AssertionError
        Where a file was refused: then less was done than is timed.
    """
    root = paths[0].parent
    videos = pl.DataFrame({"video_id": [p.stem for p in paths], "media": [p.name for p in paths]})
    processes = workers(settings)

    def ours() -> None:
        _, quarantine, report = extract(videos, root, settings)
        assert report["media_decoded"] == len(paths) and quarantine.is_empty(), quarantine

    ways: dict[str, Callable[[], object]] = {
        "extract": ours,
        "decode all": lambda: floor.over(floor.everything, paths, processes),
        "sampled frames": lambda: floor.over(floor.sampled, paths, processes),
        "sampled, sound": lambda: floor.over(floor.sampled_and_sound, paths, processes),
    }
    taken: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            taken[name].append(timed(way))
    return {
        name: Cost(*(statistics.median(part) for part in zip(*found, strict=True)))
        for name, found in taken.items()
    }


def ratios(found: dict[str, Cost]) -> dict[str, float]:
    """Ours over the floors."""
    ours = found["extract"]
    figures = {"extract_s": round(ours.wall, 3), "extract_cpu_s": round(ours.cpu, 3)}
    for way, key in FLOORS.items():
        figures[key] = round(ours.wall / found[way].wall, 3)
        figures[f"{key}_cpu"] = round(ours.cpu / found[way].cpu, 3)
    return figures


def show(name: str, paths: Sequence[Path], found: dict[str, Cost]) -> None:
    """One row a way."""
    ours = found["extract"]
    for way, cost in found.items():
        ratio = f"{ours.wall / cost.wall:12.2f} {ours.cpu / cost.cpu:12.2f}"
        size = clips.bytes_of(paths) / 1e6
        row = f"{name:14} {len(paths):5} {size:6.1f} {way:15} {cost.wall:7.2f} {cost.cpu:7.2f}"
        print(row, ratio)


def timed(way: Callable[[], object]) -> Cost:
    """What one call costs, with the processes that it starts and ends."""
    cpu, start = _cpu(), time.perf_counter()
    way()
    return Cost(time.perf_counter() - start, _cpu() - cpu)


def _cpu() -> float:
    """Processor seconds of this process and of those it has waited for."""
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
