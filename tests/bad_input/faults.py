"""Faults put into a workspace, and what the command line tells of them."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl

VIDEOS, FEEDBACK = "data/videos.parquet", "data/feedback.parquet"
REJECTED, QUARANTINE = "artifacts/tables/rejected.parquet", "artifacts/quarantine.parquet"
TO_DISTANT_PAST = pl.col("time") - timedelta(days=4000)

Change = Callable[[pl.DataFrame], pl.DataFrame]


class Told:
    """What one call of the command line gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def sentence(self) -> str:
        """The only error; fails where there is another or a stack trace."""
        assert self.status == 1, (self.status, self.err)
        assert "Traceback" not in self.err + self.out
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.err
        assert self.err.rstrip().splitlines()[-1] == errors[0]
        return errors[0]


def edit(workspace: Path, name: str, change: Change) -> pl.DataFrame:
    """Change a table in place; the table before."""
    table = pl.read_parquet(workspace / name)
    change(table).write_parquet(workspace / name)
    return table


def on_rows(n: int, **columns: pl.Expr) -> Change:
    """Replace columns on the rows 3, 4, ... n + 2."""
    there = pl.int_range(pl.len()).is_between(3, n + 2)

    def change(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(
            pl.when(there).then(new).otherwise(pl.col(name)).alias(name)
            for name, new in columns.items()
        )

    return change


def digests(workspace: Path) -> dict[str, str]:
    files = sorted(p for p in (workspace / "data").rglob("*") if p.is_file())
    return {
        str(p.relative_to(workspace)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }
