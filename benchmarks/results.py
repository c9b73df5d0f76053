"""How good are the forecasts? Every row on every task and fold of the protocol, as one page."""

import argparse
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import ablations, harness, results_page, scores
from benchmarks.folds import RESULT, VIDEOS, made_with, run_fold, scored_rows
from benchmarks.pool import pool
from benchmarks.tasks import ABLATIONS, ROWS, Task, Variant, differs, named, settings
from benchmarks.workspaces import REPOSITORY, SIMULATED
from m3tr.config import Params
from m3tr.errors import InputError
from m3tr.registry.connection import connect
from m3tr.registry.provenance import git_state
from m3tr.registry.tracking import stage_run

# what a fold's workspace needs no more once it is scored; the first fold serves the ablations
HEAVY = ("artifacts", "variants", ".mlflow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    harness.add_tasks(parser)
    harness.add_arguments(parser)
    parser.add_argument(
        "--ablations", action="store_true", help="then run the benchmark ablations, for its section"
    )
    parser.add_argument(
        "--track", action="store_true", help="an MLflow run: at MLFLOW_TRACKING_URI, or in --keep"
    )
    parser.add_argument(
        "--out", type=Path, help="where the page goes; default: docs if it is whole, else --keep"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run what is not done yet, write the page; headlines `{task: {row: {nmse, src, ...}}}`."""
    tasks, variants = named(options.tasks), harness.variants_but(options.skip, ABLATIONS)
    if options.track and not (options.keep or os.environ.get("MLFLOW_TRACKING_URI")):
        raise InputError("--track: say where by --keep or MLFLOW_TRACKING_URI")
    code = git_state(REPOSITORY)  # before the page changes it
    with harness.folder_of(options.keep) as root:
        if options.track:
            connect(root)  # a server that does not answer is told now
        rows = [variant for variant in ROWS if variant in variants]
        failed = run_tasks(root, tasks, options.jobs, options.quick, rows)
        if options.ablations:
            ablations.ablate(root, tasks, variants, options.jobs, options.quick)
        found = collect(root, tasks, options.quick)
        text = results_page.page(found)
        print(text)
        whole = "ablations" in found and not (
            options.quick or options.tasks or options.skip or failed
        )
        folder = options.out or (REPOSITORY / "docs" if whole else root)
        folder.mkdir(parents=True, exist_ok=True)
        files = {"results.md": text, "results.json": json.dumps(rounded(found), indent=1) + "\n"}
        for name, content in files.items():
            (folder / name).write_text(content)
        if options.track:
            track(root, found, [folder / name for name in files], code)
    if failed:
        raise InputError(f"{', '.join(failed)} failed; the reasons are said above")
    return {name: task["rows"] for name, task in found["tasks"].items()}


def track(
    root: Path, found: Mapping[str, Any], files: Sequence[Path], code: Mapping[str, str]
) -> None:
    """Record headlines, ablations and the files as one MLflow run of the experiment `results`.

    Parameters
    ----------
    root : Path
        Whose `.mlflow/` it is without a server.
    found : mapping
        As `collect` returns it.
    files : sequence of Path
    code : mapping
        Tags that say which code it was (`git_state`).

    Raises
    ------
    InputError
        The server named by MLFLOW_TRACKING_URI does not answer.
    """
    figures = {name: task["rows"] for name, task in found["tasks"].items()}
    varied = found.get("ablations", {}).get("mean", {})
    params = {"quick": found["quick"], "tasks": [*figures]}
    names = dict.fromkeys(task["dataset"] for task in found["tasks"].values())
    tags = {**code, "dataset": ", ".join(names)}
    with stage_run(
        "results", workspace=root, experiment="results", params=params, tags=tags
    ) as run:
        run.log_metrics({**figures, "ablations": varied})
        for file in files:
            run.log_artifact(file)


def rounded(found: Any) -> Any:
    """The same numbers with five decimals: more are noise, and fill the file."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return round(found, 5) if isinstance(found, float) else found


def run_tasks(
    root: Path, tasks: Sequence[Task], processes: int, quick: bool, rows: Sequence[Variant]
) -> list[str]:
    """Every fold of the tasks, side by side; those that fail are told, and their names returned."""
    with pool(processes) as workers:
        bases = harness.datasets(workers, root, tasks, quick)
        jobs = {}
        for task in tasks[::-1]:  # the long ones first
            for fold in range(folds_of(task, quick)):
                asked = settings(task, fold, quick)
                folder = root / "tasks" / task.name / str(fold)
                own = [row for row in rows if differs(row, asked)]
                arguments = (bases[task.dataset], folder, task, asked, own)
                jobs[f"{task.name} fold {fold}"] = (one_fold, arguments)
        done = workers.run("results", jobs)
    return [name for name in jobs if name not in done]


def one_fold(base: Path, folder: Path, *arguments: Any) -> None:
    """Run a fold and remove what is not needed any more."""
    try:
        run_fold(base, folder, *arguments)
    finally:
        if folder.name != "0":
            for name in HEAVY:
                shutil.rmtree(folder / name, ignore_errors=True)


def collect(root: Path, tasks: Sequence[Task], quick: bool) -> dict[str, Any]:
    """All numbers of the page, from what the folds have left; none of a single video.

    Returns
    -------
    dict
        `quick`; `tasks`: by name `dataset`, `simulated`, `more`, `split`, `nominal`, `seeds`,
        `folds` (sizes, scores by row, label and horizon), `rows` (headlines), `ratios`, `groups`;
        `across`; `ablations`, where some are there, as `ablations.collect` returns them.
    """
    found: dict[str, Any] = {"quick": quick, "tasks": {}}
    for task in tasks:
        folders = [root / "tasks" / task.name / str(i) for i in range(folds_of(task, quick))]
        folds = [
            read_fold(folder)
            for fold, folder in enumerate(folders)
            if made_with(settings(task, fold, quick), folder / RESULT) is not None
        ]
        if folds:
            found["tasks"][task.name] = of_task(task, folds)
    found["across"] = scores.across(found["tasks"])
    varied = ablations.collect(root, tasks, quick)
    if varied["tasks"]:
        found["ablations"] = varied
    return found


def of_task(task: Task, folds: Sequence[scores.Fold]) -> dict[str, Any]:
    """The numbers of one task."""
    rows = scores.summary(folds)
    compared = [row for row in (scores.OURS, *scores.RIVALS) if row in rows]
    asked = Params.model_validate(folds[0].result["settings"])
    return {
        "dataset": task.dataset,
        "simulated": task.dataset in SIMULATED,
        "more": task.more,
        "split": asked.task.split,
        "nominal": asked.train.coverage,
        "seeds": {"M3TR": asked.train.seeds, "LightGBM": asked.evaluate.seeds},
        "folds": [
            {"examples": fold.result["examples"], "seconds": fold.result["seconds"]}
            | {"rows": scores.fold_scores(fold.forecasts)}
            for fold in folds
        ],
        "rows": rows,
        "ratios": scores.ratios(folds),
        "groups": scores.groups(folds, compared),
    }


def read_fold(folder: Path) -> scores.Fold:
    """What `run_fold` has left."""
    return scores.Fold(
        scored_rows(folder),
        pl.read_parquet(folder / VIDEOS),
        json.loads((folder / RESULT).read_text()),
    )


def folds_of(task: Task, quick: bool) -> int:
    """How many folds are run."""
    return 1 if quick else len(task.folds)
