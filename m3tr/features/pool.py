"""Work in other processes, of which any may crash or hang.

Decoders are C code fed with strangers' files: a crash must cost one file, not the stage. Each
worker holds one item at a time, so the parent always knows which item killed it (a
`ProcessPoolExecutor` only knows that its pool is broken). Workers are fresh interpreters and do
not run the caller's main module again, so scripts and notebooks need no guard.
"""

import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from m3tr.errors import InputError

READY, RESULT, GONE = "ready", "result", "gone"  # what a worker says, or does not
MAX_FAILED_STARTS, START_SECONDS = 5, 120.0
BOOT = "import sys; from m3tr.features.pool import serve; serve(int(sys.argv[1]))"


@dataclass(frozen=True)
class Failure:
    """Why an item has no result: its worker `crashed`, `hung`, or the function `raised`."""

    kind: str
    message: str


class _Worker:
    def __init__(self, function: Callable[[Any], Any], memory: int | None, nice: int) -> None:
        self.connection, child = Pipe()
        one_thread = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
        )
        # glibc would give the memory of every file back to the kernel, and ask for it again
        kept = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_MMAP_THRESHOLD_": "33554432"}
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT, str(child.fileno())],
            pass_fds=(child.fileno(),),
            env={**os.environ, **one_thread, **kept, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        child.close()
        with suppress(OSError):  # dead already: heard of as of any other death
            self.connection.send((function, memory, nice))
        self.ready = False
        self.item: int | None = None
        self.deadline = time.monotonic() + START_SECONDS

    def give(self, index: int, item: Any, seconds: float) -> None:
        self.item = index
        self.deadline = time.monotonic() + seconds
        self.connection.send(item)

    def hear(self) -> tuple[str, Any]:
        """What it says: READY, RESULT with the result, or GONE where it died."""
        try:
            said, result = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            self.end(grace=1.0)
            return GONE, None
        self.ready = self.ready or said == READY
        self.item, self.deadline = None, float("inf")
        return said, result

    def speaks(self) -> bool:
        """Whether there is something to hear."""
        return self.connection.poll()

    def end(self, grace: float = 0.0) -> None:
        """Kill it, unless it ends by itself within `grace` seconds."""
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        self.connection.close()


class Pool:
    """Worker processes that call one function; they start with the first item and are kept.

    Parameters
    ----------
    function : callable
        Picklable (by reference).
    workers : int
        Processes at most.
    seconds : float
        Wall time after which an item counts as hung and its worker is killed.
    memory : int, optional
        Bytes of data a worker may hold; beyond them its allocations fail.
    nice : int
        How far the workers stand back behind the caller's own computing (`os.nice`).
    retries : int
        Further tries, each on a fresh worker, for an item whose worker died or hung.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        workers: int,
        seconds: float,
        memory: int | None = None,
        nice: int = 0,
        retries: int = 1,
    ) -> None:
        self.function, self.workers, self.seconds = function, workers, seconds
        self.memory, self.nice, self.retries = memory, nice, retries
        self.staff: list[_Worker] = []
        self.closed = False

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True  # a run in another thread starts no more workers
        for worker in self.staff:
            worker.end()
        self.staff = []

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Call the function on every item; the items must be picklable.

        Yields
        ------
        (int, Any)
            Index of the item and its result or `Failure`, in order of completion.

        Raises
        ------
        InputError
            Where workers cannot even start.
        """
        queue, tries = deque(range(len(items))), [0] * len(items)
        staff, failed_starts = self.staff, 0
        lost: list[tuple[int | None, Failure]] = []
        while not self.closed and (queue or any(worker.item is not None for worker in staff)):
            outstanding = len(queue) + sum(worker.item is not None for worker in staff)
            while len(staff) < min(self.workers, outstanding):
                staff.append(_Worker(self.function, self.memory, self.nice))
            for worker in staff:
                if worker.ready and worker.item is None and queue:
                    index = queue.popleft()
                    with suppress(OSError):  # it died while idle: seen below as it is closed
                        worker.give(index, items[index], self.seconds)
            for worker in _talking(staff):
                item, (said, result) = worker.item, worker.hear()
                if said == READY:
                    failed_starts = 0
                elif said == RESULT:
                    assert item is not None
                    yield item, result
                else:
                    staff.remove(worker)
                    failed_starts += not worker.ready
                    lost.append((item, Failure("crashed", _status(worker))))
            # who takes the results may have paused: what was said meanwhile is heard first
            for worker in [w for w in staff if time.monotonic() > w.deadline and not w.speaks()]:
                staff.remove(worker)
                worker.end()
                failed_starts += not worker.ready
                hung = Failure("hung", f"no result after {self.seconds:g} s")
                lost.append((worker.item, hung))
            if failed_starts >= MAX_FAILED_STARTS:
                raise InputError(
                    "processes that decode media die at their start; what they say stands above: "
                    "mend the environment (make setup) or raise features.limits.max_memory"
                )
            while lost:
                item, failure = lost.pop()
                if item is None:
                    continue
                tries[item] += 1
                if tries[item] <= self.retries:
                    queue.append(item)  # behind the others
                else:
                    yield item, failure


def _status(worker: _Worker) -> str:
    return f"exit status {worker.process.returncode}"


def run(
    function: Callable[[Any], Any], items: Sequence[Any], **settings: Any
) -> Iterator[tuple[int, Any]]:
    """`Pool(function, **settings).run(items)` with workers that end with it."""
    with Pool(function, **settings) as pool:
        yield from pool.run(items)


def _talking(staff: list[_Worker]) -> list[_Worker]:
    """Workers with something to hear, at the latest when the first deadline passes."""
    soonest = min(worker.deadline for worker in staff)
    timeout = None if soonest == float("inf") else max(0.0, soonest - time.monotonic())
    heard = wait([worker.connection for worker in staff], timeout)
    return [worker for worker in staff if worker.connection in heard]


def serve(descriptor: int) -> None:
    """The life of a worker: take the function, then items, until the parent is gone."""
    import resource
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    connection: Connection = Connection(descriptor)
    try:
        function, memory, nice = connection.recv()
        os.nice(nice)
        if memory is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        connection.send((READY, None))
        while True:
            item = connection.recv()
            try:
                result = function(item)
            except Exception as error:
                result = Failure("raised", f"{type(error).__name__}: {error}")
            connection.send((RESULT, result))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
