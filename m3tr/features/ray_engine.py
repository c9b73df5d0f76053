"""From jobs to tokens on Ray Data: actors that hold the encoders, each with a decoder of its own.

Files are read where an actor runs, so the data folder must be at the same path on every machine.
An actor is the local engine with one decoding process: a file that kills its decoder costs itself.
Device and precision are the driver's: tokens are filed under its fingerprint, whoever made them.
"""

import logging
import os
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3tr.errors import InputError
from m3tr.features.encoders import SIGNAL, build
from m3tr.features.engine import Job, LocalEngine
from m3tr.features.settings import FeatureSettings
from m3tr.features.worker import Outcome

FILES_A_BATCH = 32
RAISED = re.compile(r"(?!ray\.)[A-Za-z_][\w.]*(Error|Exception): ")


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
        """Index and outcome of every job, in order of completion.

        Raises
        ------
        InputError
            A checkpoint that cannot be used, a device that Ray lacks, or actors that die.
        """
        import ray.data

        if not jobs:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # progress is told by the stage
        need = {m for job in jobs for m in job.modalities}
        visual, audio = "visual" in need, "audio" in need
        settings, gpus = _placed(self.settings, need, self.ray.cluster_resources().get("GPU", 0))
        # a mistake is told before actors load it in their turn; the GPU is left to them
        build(settings.model_copy(update={"device": "cpu"}), visual=visual, audio=audio, text=False)
        actors = min(self.workers, gpus) if gpus else self.workers
        rows = [
            {"index": i, "path": os.fsencode(job.path), "modalities": ",".join(job.modalities)}
            for i, job in enumerate(jobs)
        ]
        # small enough that no actor is left with the last of the work
        size = max(1, min(FILES_A_BATCH, -(-len(rows) // (4 * actors))))
        outcomes = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // size)).map_batches(
            _Actor,
            fn_constructor_args=(settings, visual, audio),
            batch_size=size,
            # by default the actor that is up first is given the work of the others too
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        for row in _told(outcomes.iter_rows()):
            yield int(row["index"]), _outcome(row)


def _placed(settings: FeatureSettings, need: set[str], seen: float) -> tuple[FeatureSettings, int]:
    """Settings with the driver's device and precision, and the GPUs that actors may take.

    Parameters
    ----------
    settings : FeatureSettings
    need : set of str
        Modalities to encode.
    seen : float
        GPUs of the Ray cluster.
    """
    if all(getattr(settings, m).encoder == SIGNAL for m in need):
        return settings.model_copy(update={"device": "cpu"}), 0
    from m3tr.features.pretrained.device import device, precision

    where = device(settings)
    settings = settings.model_copy(update={"device": where, "precision": precision(settings)})
    if where == "cpu":
        return settings, 0
    if seen < 1:
        raise InputError(
            "params.yaml: features.engine is 'ray' and encoders run on a GPU here, but Ray sees "
            "none; start Ray with --num-gpus, or set features.device to 'cpu'"
        )
    return settings, int(seen)


def _told(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows as they come; whatever ends them early becomes one sentence."""
    rows = iter(rows)
    try:
        while (row := _next(rows)) is not None:
            if row["mistake"]:
                raise InputError(row["mistake"])
            yield row
    finally:
        if isinstance(rows, Generator):
            rows.close()  # while Ray is there: its own clean-up fails afterwards, with a trace


def _next(rows: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return next(rows, None)
    except Exception as error:  # Ray raises many kinds
        # its messages hold traces and advice: the last line that names an exception is the cause
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        named = [line for line in lines if RAISED.match(line)]
        told = (named or lines[:1] or [type(error).__name__])[-1][:160].rstrip(".: ")
        raise InputError(
            f"params.yaml: features.engine is 'ray', and Ray ended early ({told}); run the "
            "stage again (what is in the cache stays), lower features.workers if memory ran "
            "out, or set features.engine to 'local'"
        ) from error


class _Actor:
    """Holds encoders and a decoder; turns batches of jobs into rows of numbers.

    An `InputError` returns as a row of its own: raised, Ray would bury its sentence.
    """

    def __init__(self, settings: FeatureSettings, visual: bool, audio: bool) -> None:
        if settings.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # not every Ray hides what was not asked for
        self.mistake = ""
        try:
            encoders = build(settings, visual=visual, audio=audio, text=False)
            self.engine = LocalEngine(settings, encoders, workers=1)
        except InputError as error:
            self.mistake = str(error)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        try:
            if not self.mistake:
                return self._rows(batch)
        except InputError as error:
            self.mistake = str(error)
        return {name: [kind()] for name, kind in _NAMES.items()} | {"mistake": [self.mistake]}

    def _rows(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        paths, modalities = batch["path"].tolist(), batch["modalities"].tolist()
        jobs = [
            Job(Path(os.fsdecode(path)), tuple(text.split(",")))
            for path, text in zip(paths, modalities, strict=True)
        ]
        rows: dict[str, list[Any]] = {name: [] for name in _NAMES}
        for place, outcome in self.engine.run(jobs):
            rows["mistake"].append("")
            rows["index"].append(int(batch["index"][place]))
            rows["pixels"].append(outcome.pixels)
            rows["seconds"].append(float(outcome.seconds))
            for m in ("visual", "audio"):
                tokens = outcome.arrays.get(m)
                rows[m].append(b"" if tokens is None else tokens.astype("<f4").tobytes())
                rows[f"{m}_dimension"].append(0 if tokens is None else tokens.shape[1])
                rows[f"{m}_broken"].append("\0".join(outcome.broken.get(m, ())))
        return rows


_OF_MODALITY = {"": bytes, "_dimension": int, "_broken": str}
_NAMES: dict[str, type] = {
    **{"mistake": str, "index": int, "pixels": int, "seconds": float},
    **{f"{m}{end}": kind for m in ("visual", "audio") for end, kind in _OF_MODALITY.items()},
}


def _outcome(row: dict[str, Any]) -> Outcome:
    outcome = Outcome(pixels=int(row["pixels"]), seconds=float(row["seconds"]))
    for m in ("visual", "audio"):
        dimension = int(row[f"{m}_dimension"])
        if dimension:
            outcome.arrays[m] = np.frombuffer(row[m], "<f4").reshape(-1, dimension).copy()
        if row[f"{m}_broken"]:
            reason, remedy = row[f"{m}_broken"].split("\0")
            outcome.broken[m] = (reason, remedy)
    return outcome
