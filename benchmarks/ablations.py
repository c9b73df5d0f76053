"""What is each part of M3TR worth? Its variants beside it, on the first fold of each task."""

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness, results_page
from benchmarks.folds import logged, made_with, run_variant, train_fold, trained
from benchmarks.forecasts import OURS, forecasts, squared_error
from benchmarks.pool import pool
from benchmarks.tasks import ABLATIONS, Task, Variant, differs, named, settings
from benchmarks.workspaces import merged
from m3tr.workspace import MODEL, write_json

ERRORS = "errors.json"
SPLITS = ("validation", "test")
Errors = dict[str, list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    harness.add_tasks(parser)
    harness.add_arguments(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train what is not there yet, print the table of all; what `collect` returns."""
    tasks, variants = named(options.tasks), harness.variants_but(options.skip, ABLATIONS)
    with harness.folder_of(options.keep) as root:
        ablate(root, tasks, variants, options.jobs, options.quick)
        found = collect(root, tasks, options.quick)
    print(results_page.ablations(found).strip())
    return found


def ablate(
    root: Path, tasks: Sequence[Task], variants: Sequence[Variant], processes: int, quick: bool
) -> None:
    """Train M3TR and its variants, side by side; those that fail are told and left out.

    Leaves `root/ablations/<task>/<variant>/errors.json`; what is there with the same settings is
    not trained again.
    """
    asked = {task.name: settings(task, 0, quick) for task in tasks}
    missing = {
        name: [v for v in variants if differs(v, own) and errors_of(root, name, v, own) is None]
        for name, own in asked.items()
    }
    with pool(processes) as workers:
        bases = harness.datasets(workers, root, tasks, quick)
        full = {
            task.name: (of_full, (bases[task.dataset], root / "tasks" / task.name / "0",
                                  folder_of(root, task.name, OURS), asked[task.name]))
            for task in tasks[::-1]  # the long ones first
            if missing[task.name] or errors_of(root, task.name, None, asked[task.name]) is None
        }  # fmt: skip
        jobs = {
            f"{name} {variant.name}": (
                of_variant,
                (workspace, folder_of(root, name, variant.name), asked[name], variant),
            )
            for name, workspace in workers.run("full model", full).items()
            for variant in missing[name]
        }
        workers.run("ablations", jobs)


def collect(root: Path, tasks: Sequence[Task], quick: bool) -> dict[str, Any]:
    """Errors of the variants that were trained over those of M3TR, as `summary`."""
    found: dict[str, dict[str, Errors]] = {}
    for task in tasks:
        asked = settings(task, 0, quick)
        own = {v.name: errors_of(root, task.name, v, asked) for v in ABLATIONS if differs(v, asked)}
        own = {OURS: errors_of(root, task.name, None, asked), **own}
        known = {name: errors for name, errors in own.items() if errors is not None}
        if OURS in known and len(known) > 1:
            found[task.name] = known
    return summary(found)


def errors_of(
    root: Path, task: str, variant: Variant | None, asked: Mapping[str, Any]
) -> Errors | None:
    """The errors of a variant, of M3TR itself without one, where they are there."""
    name, made = (OURS, asked) if variant is None else (variant.name, made_as(asked, variant))
    kept = made_with(made, folder_of(root, task, name) / ERRORS)
    return None if kept is None else kept["errors"]


def of_full(base: Path, fold: Path, own: Path, asked: Mapping[str, Any]) -> Path:
    """The trained workspace of the full model, that of `results` where it is there."""
    if trained(fold, asked):
        shutil.rmtree(own / "artifacts", ignore_errors=True)
        keep_errors(own, asked, lambda: fold)
        return fold

    def train() -> Path:
        train_fold(base, own, asked)
        return own

    if not (own / MODEL).exists():  # the errors are those of a fold that is gone
        (own / ERRORS).unlink(missing_ok=True)
    keep_errors(own, asked, train)
    return own


def of_variant(full: Path, own: Path, asked: Mapping[str, Any], variant: Variant) -> None:
    """Keep the errors of a variant of the forecaster that `full` holds."""

    def train() -> Path:
        row = full / "variants" / variant.name
        if (row / MODEL).exists():  # of `results`
            return row
        with logged(full):
            run_variant(full, own, asked, variant)
        return own

    keep_errors(own, made_as(asked, variant), train)


def folder_of(root: Path, task: str, name: str) -> Path:
    """Where the errors of a variant, or of M3TR itself, are kept."""
    return root / "ablations" / task / name


def made_as(asked: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """What decides how a variant comes out."""
    # what is hidden from it is no setting of the library, but decides as much
    return {**merged(asked, variant.changes), "without": variant.without}


def keep_errors(own: Path, made: Mapping[str, Any], train: Callable[[], Path]) -> None:
    """Write errors of the workspace that `train` returns, unless they are there as `made`."""
    if made_with(made, own / ERRORS) is None:
        workspace = train()
        with logged(own):
            errors = scored(workspace)
        write_json({"settings": dict(made), "errors": errors}, own / ERRORS)


def scored(workspace: Path) -> Errors:
    """Squared errors of the increment at each horizon, by split."""
    return {split: squared_error(forecasts(workspace, split)) for split in SPLITS}


def summary(errors: Mapping[str, Mapping[str, Errors]]) -> dict[str, Any]:
    """Ratios of errors by task and variant, and their geometric means over the tasks.

    Returns
    -------
    dict
        `tasks`: `{task: {variant: {validation, test, horizons}}}`, ratios to M3TR at the last
        horizon and the squared errors at each; `mean`: `{variant: {validation, test}}`.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for name, variants in errors.items():
        full = variants[OURS]
        tasks[name] = {
            variant: {split: own[split][-1] / full[split][-1] for split in SPLITS}
            | {"horizons": own}
            for variant, own in variants.items()
        }
    mean = {}
    for variant in (v.name for v in ABLATIONS):
        known = [task[variant] for task in tasks.values() if variant in task]
        if not known:
            continue
        logs = {split: [np.log(k[split]) for k in known] for split in SPLITS}
        mean[variant] = {split: float(np.exp(np.mean(v))) for split, v in logs.items()}
    return {"tasks": tasks, "mean": mean}
