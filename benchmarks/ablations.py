"""What is each part of M3TR worth? Its variants beside it, on the first fold of each task."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results_page, runs
from benchmarks.folds import logged, made_with, run_variant, train_fold, trained
from benchmarks.forecasts import OURS, forecasts, squared_error
from benchmarks.pool import pool
from benchmarks.tasks import ABLATIONS, Task, Variant, differs, named, settings
from benchmarks.workspaces import merged
from m3tr.workspace import write_json

ERRORS = "errors.json"  # of one variant
FOUND = "ablations.json"  # of all
SPLITS = ("validation", "test")
Errors = dict[str, list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    runs.add_arguments(parser)
    parser.add_argument(
        "--skip", default="", help="variants that are left out, as THP, the slowest"
    )
    parser.add_argument(
        "--done", action="store_true", help="train no variant: the table of what --keep holds"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Print the table; what `find` returns."""
    variants = runs.without(options.skip, ABLATIONS)
    with runs.folder_of(options.keep) as root:
        found = find(
            root, named(options.tasks), variants, options.jobs, options.quick, options.done
        )
    print(results_page.ablations(found).strip())
    return found


def find(
    root: Path,
    tasks: Sequence[Task],
    variants: Sequence[Variant],
    processes: int,
    quick: bool,
    done_only: bool = False,
) -> dict[str, Any]:
    """Errors of each variant over those of M3TR, kept in `root/ablations.json`.

    Parameters
    ----------
    root : Path
        Of the workspaces; those that are there with the same settings are not trained again.
    tasks, variants : sequence
    processes : int
        Side by side.
    quick : bool
        Settings for a first look.
    done_only : bool
        Only what is there already.

    Returns
    -------
    dict
        `quick`; `tasks`: `{task: {variant: {validation, test, horizons}}}`; `mean`: `{variant:
        {validation, test}}`. `validation` and `test` are ratios of squared errors of the increment
        at the last horizon, `horizons` the squared errors at each.
    """
    errors = errors_of(root, tasks, variants, processes, quick, done_only)
    found = {"quick": quick, **summary(errors)}
    write_json(found, root / FOUND)
    return found


def errors_of(
    root: Path,
    tasks: Sequence[Task],
    variants: Sequence[Variant],
    processes: int,
    quick: bool,
    done_only: bool = False,
) -> dict[str, dict[str, Errors]]:
    """Squared errors of the full model and the variants, by task, variant and split."""
    with pool(processes) as workers:
        bases = runs.datasets(workers, root, tasks, quick)
        asked = {task.name: settings(task, 0, quick) for task in tasks}
        full = {
            task.name: (of_full, (bases[task.dataset], root / "tasks" / task.name / "0",
                                  root / "ablations" / task.name / OURS, asked[task.name]))
            for task in tasks[::-1]
        }  # fmt: skip
        if done_only:
            full = {n: job for n, job in full.items() if full_known(job[1][1], job[1][2], asked[n])}
        done = workers.run("full model", full)
        jobs = {
            f"{name} {variant.name}": (
                of_variant,
                (folder, root / "ablations" / name / variant.name, asked[name], variant),
            )
            for name, (folder, _) in done.items()
            for variant in variants
            if differs(variant, asked[name])
            and (not done_only or scored_as(root / "ablations" / name, asked[name], variant))
        }
        varied = workers.run("ablations", jobs)
    found: dict[str, dict[str, Errors]] = {}
    for task in tasks:
        if task.name in done:
            own = {v.name: varied.get(f"{task.name} {v.name}") for v in variants}
            known = {name: errors for name, errors in own.items() if errors is not None}
            found[task.name] = {OURS: done[task.name][1], **known}
    return found


def of_full(base: Path, fold: Path, own: Path, asked: Mapping[str, Any]) -> tuple[Path, Errors]:
    """The trained workspace of the full model, that of `results` where it is there; its errors."""
    if trained(fold, asked):
        with logged(fold):
            return fold, scored(fold)
    return own, kept_errors(own, asked, partial(train_fold, base, own, asked))


def of_variant(full: Path, folder: Path, asked: Mapping[str, Any], variant: Variant) -> Errors:
    """Errors of a variant of the forecaster that `full` holds."""
    made = made_as(asked, variant)
    with logged(full):
        return kept_errors(folder, made, partial(run_variant, full, folder, asked, variant))


def full_known(fold: Path, own: Path, asked: Mapping[str, Any]) -> bool:
    """Whether the full model's errors are there, or can be had without training."""
    return trained(fold, asked) or made_with(asked, own / ERRORS) is not None


def scored_as(folder: Path, asked: Mapping[str, Any], variant: Variant) -> bool:
    """Whether a variant's errors are there."""
    return made_with(made_as(asked, variant), folder / variant.name / ERRORS) is not None


def made_as(asked: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """What decides how a variant comes out."""
    # what is hidden from it is no setting of the library, but decides as much
    return {**merged(asked, variant.changes), "without": variant.without}


def kept_errors(folder: Path, made: Mapping[str, Any], train: Callable[[], object]) -> Errors:
    """Errors of a workspace; it is trained unless it keeps those of the same settings."""
    known = made_with(made, folder / ERRORS)
    if known is None:
        train()
        with logged(folder):
            known = {"settings": dict(made), "errors": scored(folder)}
        write_json(known, folder / ERRORS)
    errors: Errors = known["errors"]
    return errors


def scored(workspace: Path) -> Errors:
    """Squared errors of the increment at each horizon, by split."""
    return {split: squared_error(forecasts(workspace, split)) for split in SPLITS}


def summary(errors: Mapping[str, Mapping[str, Errors]]) -> dict[str, Any]:
    """Ratios to the full model at the last horizon, and their geometric means over the tasks."""
    tasks: dict[str, dict[str, Any]] = {}
    for name, variants in errors.items():
        full = variants[OURS]
        tasks[name] = {
            variant: {split: own[split][-1] / full[split][-1] for split in SPLITS}
            | {"horizons": own}
            for variant, own in variants.items()
        }
    names = dict.fromkeys(v for task in tasks.values() for v in task if v != OURS)
    mean = {}
    for variant in names:
        known = [task[variant] for task in tasks.values() if variant in task]
        logs = {split: [np.log(k[split]) for k in known] for split in SPLITS}
        mean[variant] = {split: float(np.exp(np.mean(v))) for split, v in logs.items()}
    return {"tasks": tasks, "mean": mean}
