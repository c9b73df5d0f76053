"""What benchmarks over several tasks share: their options, variants, datasets and folder."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.folds import prepare
from benchmarks.pool import Pool
from benchmarks.tasks import Task, Variant
from benchmarks.workspaces import require
from m3tr.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """On how many processes, where, and without what."""
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--keep", type=Path, help="work here; what is done there is not done again")
    parser.add_argument(
        "--skip", default="", help="variants of M3TR that are not run, as --skip=-Mamba,THP"
    )


def add_tasks(parser: argparse.ArgumentParser) -> None:
    """Which tasks."""
    parser.add_argument("--tasks", help="names separated by commas, as Y1,W6; default: all")


def variants_but(skip: str, variants: Sequence[Variant]) -> list[Variant]:
    """Variants of M3TR without those of a comma-separated list.

    Raises
    ------
    InputError
        Where no variant has a name of the list.
    """
    names = {name.strip() for name in skip.split(",")} - {""}
    known = [variant.name for variant in variants]
    for name in sorted(names - {*known}):
        raise InputError(f"--skip {name}: name some of {', '.join(known)}")
    return [variant for variant in variants if variant.name not in names]


def datasets(workers: Pool, root: Path, tasks: Sequence[Task], quick: bool) -> dict[str, Path]:
    """Workspaces with the data and features of the tasks' datasets, by name.

    Raises
    ------
    InputError
        Where a dataset is absent or cannot be brought.
    """
    names = list(dict.fromkeys(task.dataset for task in tasks))
    for name in names:
        require(name)
    found = workers.run("datasets", {name: (prepare, (name, root, quick)) for name in names})
    for name in names:
        if name not in found:
            raise InputError(f"the dataset {name} could not be brought; the reason is said above")
    return found


@contextmanager
def folder_of(keep: Path | None) -> Iterator[Path]:
    """The folder to work in: `keep`, or a temporary one."""
    with tempfile.TemporaryDirectory(prefix="m3tr-results-") as scratch:
        yield (keep or Path(scratch)).resolve()
