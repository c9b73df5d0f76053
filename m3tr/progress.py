"""Progress of long steps: a bar on a terminal, sparse lines elsewhere."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

LINE_EVERY_SECONDS = 10.0


def track(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    *,
    failed: Callable[[T], bool] | None = None,
) -> Iterator[T]:
    """Yield `items` while showing done, rate, remaining time and failures.

    Parameters
    ----------
    items : iterable
        What is worked through; its length is used where `total` is not given.
    description : str
        Shown before the bar or at the start of each line.
    total : int, optional
        Number of items, where `items` has no length.
    failed : callable, optional
        Whether an item counts as a failure.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    show = _bar if sys.stderr.isatty() else _lines
    yield from show(items, description, total, failed)


def _bar(
    items: Iterable[T], description: str, total: int | None, failed: Callable[[T], bool] | None
) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failures]}"),
    )
    failures, start = 0, monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, rate="", failures="")
        for done, item in enumerate(items, start=1):
            yield item
            failures += failed is not None and failed(item)
            rate = f"{done / max(monotonic() - start, 1e-9):.1f}/s"
            told = f"{failures} failed" if failures else ""
            progress.update(task, advance=1, rate=rate, failures=told)


def _lines(
    items: Iterable[T], description: str, total: int | None, failed: Callable[[T], bool] | None
) -> Iterator[T]:
    failures, start = 0, monotonic()
    last = start
    for done, item in enumerate(items, start=1):
        yield item
        failures += failed is not None and failed(item)
        now = monotonic()
        if now - last >= LINE_EVERY_SECONDS or (last > start and done == total):
            last = now
            rate = done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if total else ""
            broken = f", {failures} failed" if failures else ""
            told = f"{description}: {done}/{total or '?'} ({rate:.1f}/s{left}{broken})"
            print(told, file=sys.stderr, flush=True)
