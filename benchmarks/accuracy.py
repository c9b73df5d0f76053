"""How good are the forecasts? Every row of the results table on one dataset, side by side."""

import argparse
from typing import Any

from benchmarks import harness, results_page
from benchmarks.results import collect, run_tasks
from benchmarks.tasks import ROWS, TASKS, Task
from benchmarks.workspaces import NAMES
from m3tr.errors import InputError

METRICS = ("nmse", "nmse_sd", "src", "mae", "information")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--dataset", choices=NAMES, default="sample")
    parser.add_argument("--task", help="one task of the dataset, as Y6; default: all of them")
    harness.add_arguments(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Score the tasks of a dataset on all their folds; `{task: {row: {nmse, src, mae, ...}}}`.

    The figures are those of the increment at the last horizon (docs/model.md, section 7), means
    over the folds.
    """
    tasks = of_dataset(options.dataset, options.task)
    variants = harness.variants_but(options.skip, ROWS)
    with harness.folder_of(options.keep) as root:
        failed = run_tasks(root, tasks, options.jobs, options.quick, variants)
        found = collect(root, tasks, options.quick)
    for name, task in found["tasks"].items():
        print(results_page.of_task(name, task).strip())
    if failed:
        raise InputError(f"{', '.join(failed)} could not be scored; the reasons are said above")
    return {
        name: {row: {m: s[m] for m in METRICS} for row, s in task["rows"].items()}
        for name, task in found["tasks"].items()
    }


def of_dataset(dataset: str, name: str | None) -> list[Task]:
    """The tasks of a dataset, or the one that is named."""
    tasks = [task for task in TASKS.values() if task.dataset == dataset]
    chosen = [task for task in tasks if name in (None, task.name)]
    if not chosen:
        names = ", ".join(task.name for task in tasks)
        raise InputError(f"{dataset} has no task {name!r}: name one of {names}")
    return chosen
