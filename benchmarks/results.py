"""How good are the forecasts? Every row on every task and fold of the protocol, as one page."""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import results_page, scores
from benchmarks.folds import RESULT, SCORED, VIDEOS, prepare, run_fold
from benchmarks.pool import Pool, pool
from benchmarks.tasks import ROWS, Task, Variant, differs, named, settings
from benchmarks.workspaces import REPOSITORY, SIMULATED, require
from m3tr.config import Params
from m3tr.errors import InputError

FOUND = "ablations.json"
SLOW = "THP"  # fits a transformer to each fold; the ablations have it on the first ones
# what a fold's workspace needs no more once it is scored; the first fold serves the ablations
HEAVY = ("artifacts", "variants", ".mlflow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    add_task_arguments(parser)
    parser.add_argument(
        "--skip", default=SLOW, help=f"variants of M3TR without a row; default {SLOW}, '': none"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of results.md and results.json; docs, but for --quick"
    )


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """Which tasks, on how many processes, and where."""
    parser.add_argument("--tasks", help="names separated by commas, as Y1,W6; default: all")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--keep", type=Path, help="work here; what is done there is not done again")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run what is not done yet, write the page; headlines `{task: {row: {nmse, src, ...}}}`."""
    tasks = named(options.tasks)
    with folder_of(options.keep) as root:
        run_tasks(root, tasks, options.jobs, options.quick, rows_without(options.skip))
        found = collect(root, tasks, options.quick)
        text = results_page.page(found)
        out = options.out or (None if options.quick else REPOSITORY / "docs")
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / "results.md").write_text(text)
            (out / "results.json").write_text(json.dumps(rounded(found), indent=1) + "\n")
    print(text)
    return {name: task["rows"] for name, task in found["tasks"].items()}


def rounded(found: Any) -> Any:
    """The same numbers with five decimals: more are noise, and fill the file."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return round(found, 5) if isinstance(found, float) else found


def rows_without(skip: str, rows: Sequence[Variant] = ROWS) -> list[Variant]:
    """The variants of M3TR, by default those that are rows, but for a comma-separated list."""
    names = {name.strip() for name in skip.split(",")} - {""}
    known = [row.name for row in rows]
    for name in sorted(names - {*known}):
        raise InputError(f"--skip {name}: name some of {', '.join(known)}")
    return [row for row in rows if row.name not in names]


def run_tasks(
    root: Path, tasks: Sequence[Task], processes: int, quick: bool, rows: Sequence[Variant]
) -> None:
    """Every fold of the tasks, side by side; those that fail are told and left out."""
    with pool(processes) as workers:
        bases = datasets(workers, root, tasks, quick)
        jobs = {}
        for task in tasks[::-1]:  # the long ones first
            for fold in range(folds_of(task, quick)):
                asked = settings(task, fold, quick)
                folder = root / "tasks" / task.name / str(fold)
                own = [row for row in rows if differs(row, asked)]
                arguments = (bases[task.dataset], folder, task, asked, own)
                jobs[f"{task.name} fold {fold}"] = (one_fold, arguments)
        workers.run("results", jobs)


def one_fold(base: Path, folder: Path, *arguments: Any) -> None:
    """Run a fold and remove what is not needed any more."""
    run_fold(base, folder, *arguments)
    if folder.name != "0":
        for name in HEAVY:
            shutil.rmtree(folder / name, ignore_errors=True)


def datasets(workers: Pool, root: Path, tasks: Sequence[Task], quick: bool) -> dict[str, Path]:
    """Workspaces with the data and features of the tasks' datasets."""
    names = list(dict.fromkeys(task.dataset for task in tasks))
    for name in names:
        require(name)
    found = workers.run("datasets", {name: (prepare, (name, root, quick)) for name in names})
    for name in names:
        if name not in found:
            raise InputError(f"the dataset {name} could not be brought; the reason is said above")
    return found


def collect(root: Path, tasks: Sequence[Task], quick: bool) -> dict[str, Any]:
    """All numbers of the page, from what the folds have left; none of a single video.

    Returns
    -------
    dict
        `quick`; `tasks`: by name the dataset, whether it is `simulated`, `folds` (sizes, scores by
        row, label and horizon), `rows` (headlines), `ratios`, `groups`, `later` (the noise floor);
        `across`; `ablations`, where they are there and as quick.
    """
    found: dict[str, Any] = {"quick": quick, "tasks": {}}
    for task in tasks:
        folders = [root / "tasks" / task.name / str(i) for i in range(folds_of(task, quick))]
        folds = [read_fold(folder) for folder in folders if (folder / RESULT).exists()]
        if folds:
            found["tasks"][task.name] = of_task(task, folds)
    found["across"] = scores.across(found["tasks"])
    if (root / FOUND).exists():
        ablations = json.loads((root / FOUND).read_text())
        if ablations.get("quick") == quick:
            found["ablations"] = ablations
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
        pl.read_parquet(folder / SCORED),
        pl.read_parquet(folder / VIDEOS),
        json.loads((folder / RESULT).read_text()),
    )


def folds_of(task: Task, quick: bool) -> int:
    """How many folds are run."""
    return 1 if quick else len(task.folds)


@contextmanager
def folder_of(keep: Path | None) -> Iterator[Path]:
    """The folder to work in: `keep`, or a temporary one."""
    with tempfile.TemporaryDirectory(prefix="m3tr-results-") as scratch:
        yield (keep or Path(scratch)).resolve()
