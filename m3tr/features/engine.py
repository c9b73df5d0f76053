"""From jobs to tokens on this machine: decoding workers, and networks in batches beside them."""

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m3tr.features.encoders import Encoders, MediaEncoder, Network
from m3tr.features.media import REPLACE
from m3tr.features.pool import Failure, Pool
from m3tr.features.settings import FeatureSettings
from m3tr.features.worker import MediaTask, Outcome, handle

HUNG_FACTOR, HUNG_SECONDS = 3.0, 20.0  # wall time allowed: 3 x the processor time + 20 s
NICE = 5  # of decoding beside a network
TOLD = {"crashed": "the decoder crashed", "hung": "the decoder hung", "raised": "damaged"}


@dataclass(frozen=True)
class Job:
    """One file and the modalities that are wanted of it."""

    path: Path
    modalities: tuple[str, ...]


class LocalEngine:
    """Decodes in worker processes; networks run here, over several videos at a time.

    Parameters
    ----------
    settings : FeatureSettings
    encoders : Encoders
    workers : int
        Decoding processes.
    """

    def __init__(self, settings: FeatureSettings, encoders: Encoders, workers: int) -> None:
        self.settings, self.encoders = settings, encoders
        self.pool = Pool(
            handle,
            workers=workers,
            seconds=HUNG_FACTOR * settings.limits.max_seconds_decoding + HUNG_SECONDS,
            memory=settings.limits.max_memory,
            # a network that waits for one of its threads waits with all of them
            nice=NICE if self._networks() else 0,
        )

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.__exit__(*error)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Index and outcome of every job, in order of completion."""
        tasks = [self._task(job) for job in jobs]
        results = ((index, _result(result, jobs[index])) for index, result in self.pool.run(tasks))
        networks = self._networks()
        if not networks:
            yield from results
            return
        with ExitStack() as stack:
            # decoding goes on while a network computes
            each = sum(part for part in (self.encoders.wanted.frames, self.settings.audio.segments))
            ahead = max(2, 2 * self.settings.batch_size // each)  # videos: two passes
            ready = stack.enter_context(_Ahead(results, ahead))
            for batch in _batches(ready, self.settings.batch_size):
                yield from _encode(batch, networks)

    def _encoders(self) -> dict[str, MediaEncoder]:
        both = {"visual": self.encoders.visual, "audio": self.encoders.audio}
        return {m: encoder for m, encoder in both.items() if encoder is not None}

    def _networks(self) -> dict[str, Network]:
        return {m: e.network for m, e in self._encoders().items() if e.network is not None}

    def _task(self, job: Job) -> MediaTask:
        prepare = {m: e.prepare for m, e in self._encoders().items() if m in job.modalities}
        wanted = self.encoders.wanted
        if "visual" not in prepare:
            wanted = replace(wanted, frames=0)
        if "audio" not in prepare:
            wanted = replace(wanted, sample_rate=0)
        return MediaTask(
            job.path, wanted, self.settings.limits, prepare.get("visual"), prepare.get("audio")
        )


def workers(settings: FeatureSettings) -> int:
    """Decoding processes that the settings ask for."""
    return settings.workers or os.cpu_count() or 1


def _result(result: Outcome | Failure, job: Job) -> Outcome:
    if not isinstance(result, Failure):
        return result
    told = f"{TOLD[result.kind]} ({result.message})", REPLACE
    return Outcome(broken=dict.fromkeys(job.modalities, told))


def _batches(
    results: Iterator[tuple[int, Outcome]], rows: int
) -> Iterator[list[tuple[int, Outcome]]]:
    """Results in lists that hold at least `rows` tokens to come, but for the last one."""
    batch: list[tuple[int, Outcome]] = []
    size = 0
    for index, result in results:
        batch.append((index, result))
        size += sum(len(prepared) for prepared in result.arrays.values())
        if size >= rows:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode(
    batch: list[tuple[int, Outcome]], networks: dict[str, Network]
) -> Iterator[tuple[int, Outcome]]:
    for m, network in networks.items():
        have = [outcome for _, outcome in batch if m in outcome.arrays]
        if have:
            for outcome, tokens in zip(have, network([o.arrays[m] for o in have]), strict=True):
                outcome.arrays[m] = tokens
    yield from batch


class _Ahead:
    """Iterates in a thread, at most `limit` items ahead of who takes them."""

    END = object()

    def __init__(self, items: Iterator[Any], limit: int) -> None:
        self.items, self.queue = items, queue.Queue[Any](limit)
        self.stopped = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> Iterator[Any]:
        self.thread.start()
        return iter(self._taken, self.END)

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.thread.join(timeout=1.0)  # it may wait for a decoder, which its pool ends

    def _taken(self) -> Any:
        item = self.queue.get()
        if item is self.END and self.error is not None:
            raise self.error
        return item

    def _fill(self) -> None:
        try:
            for item in self.items:
                self._put(item)
                if self.stopped.is_set():
                    return
        except BaseException as error:  # told to who takes the items
            self.error = error
        self._put(self.END)

    def _put(self, item: Any) -> None:
        while not self.stopped.is_set():
            try:
                self.queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
