"""A workspace: a folder with `data/` and `params.yaml`, where stages read and write."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.config import Params, read_params
from m3tr.errors import InputError

TABLES = "artifacts/tables"
REJECTED = "artifacts/tables/rejected.parquet"  # by import and ingest
QUARANTINE = "artifacts/quarantine.parquet"  # these, and what the extraction set aside
FEATURES = "artifacts/features"
FEATURES_DOCS = "reports/features_docs"
DATA_DOCS = "reports/data_docs"
TRAJECTORIES = "artifacts/trajectories"
CLASSES = f"{TRAJECTORIES}/classes.safetensors"
BANK = "artifacts/bank"
MODEL = "artifacts/model"
PREDICTIONS = "artifacts/predictions.parquet"
FEATURE_CACHE = ".m3tr-cache/features"
LAST_YEAR = 9000  # of a time that a command names: horizons lie after it, and Python ends in 9999


@dataclass
class Report:
    """What a stage tells: rows worked on and its figures."""

    rows: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    run: Any = None


def read_tables(workspace: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The clean videos and feedback, and the examples."""
    names = ("videos", "feedback", "examples")
    videos, feedback, examples = (read_table(workspace, name) for name in names)
    return videos, feedback, examples


def read_table(workspace: Path, name: str) -> pl.DataFrame:
    """One clean table; InputError where `ingest` has not written it."""
    path = workspace / TABLES / f"{name}.parquet"
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        raise InputError(f"{path} is missing or damaged: run the stage `ingest` first") from None


def read_features(workspace: Path, examples: pl.DataFrame) -> Any:
    """Content features of the examples, in their order."""
    from m3tr.features.store import Features

    return Features.load(workspace / FEATURES).select(examples["video_id"].to_list())


def read_encoders(workspace: Path) -> dict[str, str]:
    """Fingerprints of the encoders that made the features, by modality."""
    from m3tr.features import parts

    try:
        return parts.read_encoders(workspace / FEATURES)
    except (OSError, ValueError):
        raise InputError(
            f"{workspace / FEATURES} is missing or damaged: run the stage `features` first"
        ) from None


def read_x_s(workspace: Path) -> Any:
    """X_s of all examples, shape (N, D_s)."""
    return read_arrays(workspace / TRAJECTORIES / "x_s.safetensors", "trajectories")["x_s"]


def read_arrays(path: Path, stage: str) -> dict[str, Any]:
    """Arrays that `stage` has written; InputError where they are missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError):
        raise InputError(f"{path} is missing or damaged: run the stage `{stage}` first") from None


def read_queries(workspace: Path, splits: tuple[str, ...]) -> dict[str, Any]:
    """The examples of each split with all that may be known of them by their clocks."""
    import numpy as np

    from m3tr.data.windows import observed
    from m3tr.model.queries import Queries

    videos, feedback, examples = read_tables(workspace)
    rows = examples.select("video_id").join(
        videos, on="video_id", how="left", maintain_order="left"
    )
    everything = Queries(
        examples,
        rows,
        observed(feedback, examples),
        read_features(workspace, examples),
        read_x_s(workspace),
    )
    split = examples["split"].to_numpy()
    return {name: everything.select(np.flatnonzero(split == name)) for name in splits}


def read_report(workspace: Path, stage: str) -> dict[str, Any]:
    """The report JSON of a stage; InputError where it has not run."""
    path = workspace / "reports" / f"{stage}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        raise InputError(f"{path} is missing or damaged: run the stage `{stage}` first") from None


def read_time(option: str, text: str) -> datetime:
    """The time that an option of a command names; without a zone it is UTC."""
    from pydantic import ValidationError

    from m3tr.data.settings import Observe

    try:
        at = Observe.model_validate({"until": text}).until
    except ValidationError:
        at = None
    if at is None or at.year > LAST_YEAR:
        raise InputError(f"{option} {text}: write a time as in 2021-05-02T12:00:00Z")
    return at


@contextmanager
def running(
    name: str, workspace: Path, run_of: str | None = None
) -> Iterator[tuple[Params, Report]]:
    """Time a stage, record it as an MLflow run (its own or that of `run_of`), write its report."""
    from m3tr.registry.tracking import stage_run

    params, report = read_params(workspace), Report()
    run_id = read_report(workspace, run_of)["mlflow_run_id"] if run_of else None
    start = time.monotonic()
    with stage_run(
        name,
        workspace=workspace,
        experiment=params.name,
        params=params.model_dump(mode="json"),
        tags={"dataset": params.name, "split": params.task.split},
        run_id=run_id,
    ) as run:
        report.run = run
        try:
            yield params, report
        finally:
            if report.figures:
                content = {
                    "stage": name,
                    "rows": report.rows,
                    "seconds": round(time.monotonic() - start, 2),
                    "figures": report.figures,
                    "mlflow_run_id": run.id,
                }
                write_json(content, workspace / "reports" / f"{name}.json")
                run.log_metrics({name: report.figures})
                run.log_dict(content, f"reports/{name}.json")


def write_table(table: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    table.write_parquet(partial)
    os.replace(partial, path)


def write_json(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    os.replace(partial, path)
