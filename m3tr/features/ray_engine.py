"""From jobs to tokens on Ray Data: actors that hold the encoders, each with a decoder of its own.

Files are read where an actor runs, so the data folder must be at the same path on every machine.
An actor is the local engine with one decoding process: a file that kills its decoder costs itself.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3tr.errors import InputError
from m3tr.features.encoders import build
from m3tr.features.engine import Job, LocalEngine, Outcome
from m3tr.features.settings import FeatureSettings

FILES_A_BATCH = 32


class RayEngine:
    """The same as `LocalEngine`, on a Ray cluster (RAY_ADDRESS) or a local Ray of its own.

    Parameters
    ----------
    settings : FeatureSettings
    workers : int
        Actors.

    Raises
    ------
    InputError
        Ray is not installed, or cannot be reached.
    """

    def __init__(self, settings: FeatureSettings, workers: int) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(
                "params.yaml: features.engine is 'ray', but Ray is not installed: run "
                "`pip install 'm3tr[ray]'`, or set it to 'local'"
            ) from None
        self.ray, self.settings, self.workers = ray, settings, workers
        self.own = not ray.is_initialized()
        if self.own:
            local: dict[str, Any] = {"num_cpus": max(workers, 1), "include_dashboard": False}
            try:
                where = {} if os.environ.get("RAY_ADDRESS") else local
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
            except Exception as error:  # Ray raises many kinds
                raise InputError(
                    f"params.yaml: features.engine is 'ray', but Ray cannot start ({error}); "
                    "check RAY_ADDRESS, or set it to 'local'"
                ) from None

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *error: object) -> None:
        if self.own:
            self.ray.shutdown()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Index and outcome of every job, in order of completion."""
        import ray.data

        if not jobs:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        need = {m for job in jobs for m in job.modalities}
        rows = [
            {"index": i, "path": os.fsencode(job.path), "modalities": ",".join(job.modalities)}
            for i, job in enumerate(jobs)
        ]
        size = max(1, min(FILES_A_BATCH, -(-len(rows) // self.workers)))
        outcomes = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // size)).map_batches(
            _Actor,
            fn_constructor_args=(self.settings, "visual" in need, "audio" in need),
            batch_size=size,
            compute=ray.data.ActorPoolStrategy(size=self.workers),
            num_cpus=1,
        )
        for row in outcomes.iter_rows():
            yield int(row["index"]), _outcome(row)


class _Actor:
    """Holds encoders and a decoder; turns batches of jobs into rows of numbers."""

    def __init__(self, settings: FeatureSettings, visual: bool, audio: bool) -> None:
        encoders = build(settings, visual=visual, audio=audio, text=False)
        self.engine = LocalEngine(settings, encoders, workers=1)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        paths, modalities = batch["path"].tolist(), batch["modalities"].tolist()
        jobs = [
            Job(Path(os.fsdecode(path)), tuple(text.split(",")))
            for path, text in zip(paths, modalities, strict=True)
        ]
        rows: dict[str, list[Any]] = {name: [] for name in _NAMES}
        for place, outcome in self.engine.run(jobs):
            rows["index"].append(int(batch["index"][place]))
            rows["pixels"].append(outcome.pixels)
            rows["seconds"].append(float(outcome.seconds))
            for m in ("visual", "audio"):
                tokens = outcome.tokens.get(m)
                rows[m].append(b"" if tokens is None else tokens.astype("<f4").tobytes())
                rows[f"{m}_dimension"].append(0 if tokens is None else tokens.shape[1])
                rows[f"{m}_broken"].append("\0".join(outcome.broken.get(m, ())))
        return rows


_NAMES = (
    "index", "pixels", "seconds",
    *(f"{m}{end}" for m in ("visual", "audio") for end in ("", "_dimension", "_broken")),
)  # fmt: skip


def _outcome(row: dict[str, Any]) -> Outcome:
    outcome = Outcome(pixels=int(row["pixels"]), seconds=float(row["seconds"]))
    for m in ("visual", "audio"):
        dimension = int(row[f"{m}_dimension"])
        if dimension:
            outcome.tokens[m] = np.frombuffer(row[m], "<f4").reshape(-1, dimension).copy()
        if row[f"{m}_broken"]:
            reason, remedy = row[f"{m}_broken"].split("\0")
            outcome.broken[m] = (reason, remedy)
    return outcome
