"""One fold of a task: a workspace of its own, run by the library's stage functions.

Import and features are done once a dataset and shared. A variant of M3TR shares whatever its
settings leave as it was: tables, trajectories, bank.
"""

import json
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.forecasts import best_attainable, forecasts, later_clock, test_videos
from benchmarks.perturbations import without_feedback, without_metadata, without_modalities
from benchmarks.tasks import Task, Variant
from benchmarks.workspaces import SIMULATED, bring, merged, settings_of, write_settings
from m3tr.errors import InputError
from m3tr.stages import STAGES
from m3tr.workspace import (
    BANK,
    FEATURES,
    MODEL,
    PREDICTIONS,
    TABLES,
    TRAJECTORIES,
    read_features,
    read_tables,
    write_json,
    write_table,
)

RESULT, LOG = "result.json", "log.txt"
SCORED, VIDEOS, VARIANT_ROWS = "scored.parquet", "videos.parquet", "rows"
TRAINING = ("ingest", "trajectories", "bank", "train")
# what a variant shares where it leaves these sections of the settings as they were
SHARED = {"trajectories": (TRAJECTORIES, {"hawkes"}), "bank": (BANK, {"hawkes", "bank"})}


def prepare(dataset: str, root: Path, quick: bool) -> Path:
    """A workspace with data and features of all videos of the dataset; made once."""
    base = root / "datasets" / (f"{dataset}-quick" if quick else dataset)
    if not (base / RESULT).exists():
        shutil.rmtree(base, ignore_errors=True)
        seconds: dict[str, float] = {}
        with logged(base):
            with timed("import", seconds):
                bring(dataset, base, quick)
            write_settings(base, settings_of(dataset, quick))
            run_stages(base, ("ingest", "features"), seconds)
        write_json({"seconds": seconds}, base / RESULT)
    return base


def run_fold(
    base: Path,
    folder: Path,
    task: Task,
    settings: Mapping[str, Any],
    variants: Sequence[Variant] = (),
) -> None:
    """Forecasts of the test part by all rows; what is there with the same settings stays.

    Writes `scored.parquet` (as `baselines.rows.SCHEMA`), `videos.parquet` (what the groups of the
    results are made of), `result.json`, and `rows/<variant>.parquet` for each variant.

    Raises
    ------
    InputError
        Where variants failed, with their reasons; the others have been run.
    """
    if made_with(settings, folder / RESULT) is None:
        own_rows(base, folder, task, settings)
    failed = []
    for variant in variants:
        try:
            variant_row(base, folder, settings, variant)
        except Exception as error:
            failed.append(f"{variant.name}: {error}")
    if failed:
        raise InputError("; ".join(failed))


def own_rows(base: Path, folder: Path, task: Task, settings: Mapping[str, Any]) -> None:
    """Run the stages of a fold; write all that `run_fold` says but for the variants."""
    seconds = train_fold(base, folder, settings)
    with logged(folder):
        run_stages(folder, ("evaluate",), seconds)
        parts = [pl.read_parquet(folder / PREDICTIONS)]
        if task.later is not None:
            with timed("later clock", seconds):
                parts.append(later_clock(folder, task.later))
        if task.dataset in SIMULATED:
            with timed("best attainable", seconds):
                parts.append(best_attainable(base, folder))
        write_table(pl.concat(parts), folder / SCORED)
        write_table(test_videos(folder), folder / VIDEOS)
    examples = pl.read_parquet(folder / TABLES / "examples.parquet")
    rows = json.loads((folder / "reports" / "results.json").read_text())
    result = {
        "settings": dict(settings),
        "examples": dict(examples["split"].value_counts().sort("split").iter_rows()),
        "seconds": seconds,
        # what cannot be computed anew from the forecasts alone
        "crps": {name: row["crps"] for name, row in rows.items() if row.get("crps") is not None},
    }
    write_json(result, folder / RESULT)


def variant_row(base: Path, folder: Path, settings: Mapping[str, Any], variant: Variant) -> None:
    """Train a variant on a fold that has been run, and write its row, unless it is there."""
    written = folder / VARIANT_ROWS / f"{variant.name}.parquet"
    if written.exists():
        return
    with logged(folder), timed(variant.name):
        if not (folder / MODEL).exists():  # a fold keeps little once it is scored
            shutil.rmtree(folder / "artifacts", ignore_errors=True)
            link(base / FEATURES, folder / FEATURES)
            run_stages(folder, ("ingest",))
        workspace = folder / "variants" / variant.name
        run_variant(folder, workspace, settings, variant)
        row = forecasts(workspace, "test")
    if "feedback" in variant.absent:  # it does not know what was counted before the clock
        row = row.filter(pl.col("label") == "increment")
    named = {"row": variant.name, "information": variant.information}
    write_table(row.with_columns(**{k: pl.lit(v) for k, v in named.items()}), written)


def scored_rows(folder: Path) -> pl.DataFrame:
    """Forecasts of all rows that `run_fold` has left."""
    rows = sorted((folder / VARIANT_ROWS).glob("*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in (folder / SCORED, *rows)])


def train_fold(base: Path, folder: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    """A fresh workspace with everything up to the trained forecaster; seconds by stage."""
    shutil.rmtree(folder, ignore_errors=True)
    seconds: dict[str, float] = {}
    with logged(folder):
        for name in ("data", FEATURES):
            link(base / name, folder / name)
        write_settings(folder, settings)
        run_stages(folder, TRAINING, seconds)
    return seconds


def run_variant(full: Path, folder: Path, settings: Mapping[str, Any], variant: Variant) -> None:
    """Train a variant of the forecaster that the workspace `full` has trained."""
    shutil.rmtree(folder, ignore_errors=True)
    link(full / "data", folder / "data")
    if variant.absent:
        blinded(full, folder, variant.absent)
    else:
        for name in (FEATURES, TABLES):
            link(full / name, folder / name)
    write_settings(folder, merged(settings, variant.changes))
    # keys are made of features and feedback, the process of feedback alone
    blind = {"bank": bool(variant.absent), "trajectories": "feedback" in variant.absent}
    for stage, (output, sections) in SHARED.items():
        if sections.isdisjoint(variant.changes) and not blind[stage]:
            link(full / output, folder / output)
        else:
            STAGES[stage](folder)
    STAGES["train"](folder)


def blinded(full: Path, folder: Path, parts: Collection[str]) -> None:
    """Tables and features of the workspace `full` in which no video has some `parts`."""
    videos, feedback, examples = read_tables(full)
    features = read_features(full, examples)
    if "feedback" in parts:
        feedback = without_feedback(feedback, examples)
    if "metadata" in parts:
        videos = without_metadata(videos)
    videos, features = without_modalities(videos, features, parts)
    tables = {"videos": videos, "feedback": feedback, "examples": examples}
    for name, table in tables.items():
        write_table(table, folder / TABLES / f"{name}.parquet")
    features.save(folder / FEATURES)


def run_stages(
    folder: Path, stages: Sequence[str], seconds: dict[str, float] | None = None
) -> None:
    """Run stages in a workspace; how long each takes is told, and noted in `seconds`."""
    for stage in stages:
        with timed(stage, seconds):
            STAGES[stage](folder)


def made_with(settings: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """The content of a JSON file, where it is there and was made with these settings."""
    try:
        known: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return None
    # compared as JSON holds them: a tuple is a list there
    return known if known.get("settings") == json.loads(json.dumps(dict(settings))) else None


def trained(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the workspace holds a forecaster that was trained with these settings."""
    return made_with(settings, folder / RESULT) is not None and (folder / MODEL).exists()


@contextmanager
def timed(name: str, seconds: dict[str, float] | None = None) -> Iterator[None]:
    """Tell on standard error how long the block takes, and note it in `seconds`."""
    start = time.monotonic()
    yield
    taken = round(time.monotonic() - start, 1)
    if seconds is not None:
        seconds[name] = taken
    print(f"{name}: {taken} s", file=sys.stderr)


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """What the stages print goes to a file: several folds run side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a") as log, redirect_stdout(log), redirect_stderr(log):
        yield


def link(target: Path, name: Path) -> None:
    """A symbolic link `name` to a folder that is only read."""
    name.parent.mkdir(parents=True, exist_ok=True)
    name.symlink_to(target.resolve(), target_is_directory=True)
