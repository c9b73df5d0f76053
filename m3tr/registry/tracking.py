"""One MLflow run a stage: settings, figures, files, and where they came from."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3tr.errors import InputError
from m3tr.registry.connection import artifact_folder, connect, is_server, tracking_uri
from m3tr.registry.provenance import dataset_digest, provenance

__all__ = ["StageRun", "flatten", "stage_run", "tracking_uri"]

# MLflow refuses longer ones
MAX_KEY, MAX_PARAM, MAX_TAG, MAX_DIGEST = 250, 6000, 8000, 36
CUT = " [cut]"


@dataclass(frozen=True)
class StageRun:
    """A run in progress, as `stage_run` yields it.

    Attributes
    ----------
    id : str
        MLflow's run id, for the stage's report.
    """

    id: str

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the finite numbers among `metrics`; nested names are joined by a dot."""
        import mlflow

        numbers = {}
        for name, value in flatten(metrics).items():
            if isinstance(value, int | float) and math.isfinite(value):
                numbers[_key(name)] = float(value)
        mlflow.log_metrics(numbers, step=step)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all it holds, under `folder` of the run's artifacts."""
        import mlflow

        if path.is_dir():
            mlflow.log_artifacts(str(path), folder or path.name)
        else:
            mlflow.log_artifact(str(path), folder)

    def log_dict(self, content: Mapping[str, Any], name: str) -> None:
        """Log `content` as the file `name` (.json or .yaml) of the run's artifacts."""
        import mlflow

        mlflow.log_dict(dict(content), name)


@contextmanager
def stage_run(
    stage: str,
    *,
    workspace: Path,
    experiment: str,
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    run_id: str | None = None,
) -> Iterator[StageRun]:
    """Record one stage as an MLflow run (docs/mlflow.md).

    Parameters
    ----------
    stage : str
        Name of the stage; also the run's name.
    workspace : Path
        Folder the stage works in; decides the store (`tracking_uri`) and the provenance.
    experiment : str
        MLflow experiment, created where it does not exist.
    params : mapping
        Settings, nested as in params.yaml; joined by dots, long values are cut.
    tags : mapping
        Further tags; `dataset` names the dataset (default "data"). Absent values are left out.
    run_id : str, optional
        Continue this run instead of starting one; parameters it already has stay as they are.

    Yields
    ------
    StageRun
        The run ends with the block: FINISHED, or FAILED where the block raises.

    Raises
    ------
    InputError
        The server named by MLFLOW_TRACKING_URI does not answer; the store has no run `run_id`.
    """
    uri = connect(workspace)
    import mlflow

    client = mlflow.MlflowClient()
    if run_id:
        _check_run(client, run_id, uri)
    experiment_id = _experiment(client, experiment, uri, workspace)
    dataset = str(tags.get("dataset") or "data")
    everything = {**provenance(stage, workspace), "dataset": dataset, **tags}
    with mlflow.start_run(
        run_id=run_id,
        run_name=None if run_id else stage,
        experiment_id=None if run_id else experiment_id,
    ) as run:
        # a continued run keeps what it says of its own stage
        new = {k: v for k, v in everything.items() if v is not None and k not in run.data.tags}
        mlflow.set_tags({_key(k): _cut(v, MAX_TAG) for k, v in new.items()})
        values = {_key(k): _cut(v, MAX_PARAM) for k, v in flatten(params).items()}
        # a parameter cannot be changed once logged
        mlflow.log_params({k: v for k, v in values.items() if k not in run.data.params})
        if (digest := dataset_digest(workspace)) and not run_id:
            _log_dataset(dataset, digest, workspace, stage)
        yield StageRun(id=run.info.run_id)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists stay values."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _check_run(client: Any, run_id: str, uri: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException:
        raise InputError(
            f"run {run_id} of the stage `train` is not in {uri}: run `dvc repro -f train` to train "
            "into this store, or set MLFLOW_TRACKING_URI to the store it was trained into"
        ) from None


def _experiment(client: Any, name: str, uri: str, workspace: Path) -> str:
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return found.experiment_id
    # without a server MLflow would put artifacts under the current folder
    location = None if is_server(uri) else artifact_folder(workspace).as_uri()
    try:
        return client.create_experiment(name, artifact_location=location)
    except MlflowException:
        # another stage running at the same time was first
        if found := client.get_experiment_by_name(name):
            return found.experiment_id
        raise


def _log_dataset(name: str, digest: str, workspace: Path, context: str) -> None:
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    source = CodeDatasetSource({"dvc": str((workspace / "data.dvc").resolve())})
    # MLflow declares a profile abstract that it never asks for
    known = MetaDataset(source, name=name, digest=digest[:MAX_DIGEST])  # type: ignore[abstract]
    mlflow.log_input(known, context=context)


def _key(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)[:MAX_KEY]


def _cut(value: Any, length: int) -> str:
    text = str(value)
    return text if len(text) <= length else text[: length - len(CUT)] + CUT
