"""Jobs side by side in processes of one thread each, with lines on how long it will take."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from benchmarks.workspaces import without_server
from m3tr.errors import InputError

T = TypeVar("T")

# threads of several processes would wait for each other's cores
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
    )
}


class Pool:
    """Processes that work through jobs; `run` may be called several times.

    Parameters
    ----------
    processes : int
        How many run side by side; each keeps what it has imported.
    """

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise InputError(f"--jobs {processes}: there must be at least one")
        # not forked: what is imported here has already counted the cores
        self._context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=self._context)

    def run(self, what: str, jobs: Mapping[str, tuple[Callable[..., T], tuple]]) -> dict[str, T]:
        """Results of the jobs that succeeded, by name.

        Parameters
        ----------
        what : str
            Said at the start of each line on standard error.
        jobs : mapping of name to (function, arguments)
            Begun in this order. One that fails is told, and the others go on.
        """
        start = time.monotonic()
        futures = {self._pool.submit(f, *arguments): name for name, (f, arguments) in jobs.items()}
        results: dict[str, T] = {}
        ended = 0
        for future in _as_they_end(set(futures)):
            name, ended = futures[future], ended + 1
            error = future.exception()
            told = f"failed ({' '.join(str(error).split())})" if error else "done"
            if error is None:
                results[name] = future.result()
            elapsed = time.monotonic() - start
            left = elapsed / ended * (len(futures) - ended)
            print(
                f"{what}: {name} {told}; {ended}/{len(futures)} in {elapsed / 60:.1f} min, "
                f"about {left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )
        return {name: results[name] for name in jobs if name in results}

    def close(self, *, at_once: bool = False) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=at_once)


@contextmanager
def pool(processes: int) -> Iterator[Pool]:
    """A `Pool` whose processes have one thread each and record runs in their workspaces."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        with without_server():
            opened = Pool(processes)
            try:
                yield opened
            except BaseException:
                opened.close(at_once=True)
                raise
            opened.close()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _as_they_end(futures: set[Future[Any]]) -> Iterator[Future[Any]]:
    while futures:
        ended, futures = wait(futures, return_when=FIRST_COMPLETED)
        yield from ended
