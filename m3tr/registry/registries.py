"""The model registry in three steps: save the model with a run, register a version, load one."""

import contextlib
import io
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import m3tr
from m3tr.errors import InputError
from m3tr.registry.payload import EMBEDDINGS, EXTRA, NUMBERS, TEXTS

if TYPE_CHECKING:
    import pandas as pd

SERVED = Path(__file__).with_name("served.py")
CHAMPION, CHALLENGER = "champion", "challenger"

# what loading and predicting import; the pipeline's own tools (DVC, Dagster, ...) are not needed
PACKAGES = (
    "mlflow",
    "torch",
    "transformers",
    "numba",
    "scipy",
    "scikit-learn",
    "lightgbm",
    "safetensors",
    "polars",
    "pandas",
    "pyarrow",
    "numpy",
    "av",
    "pillow",
    "pydantic",
    "pyyaml",
    "rich",
)
# either one, never both: they share a module name
FAISS = ("faiss-gpu", "faiss-cpu")
OUTPUTS = (
    ("video_id", "string"),
    ("horizon", "long"),
    ("horizon_days", "double"),
    ("increment", "double"),
    ("total", "double"),
    ("increment_lo", "double"),
    ("increment_hi", "double"),
)


def save(
    forecaster: Path, example: "pd.DataFrame", *, name: str = "m3tr", code: Path = SERVED
) -> str:
    """Log a saved Forecaster as a pyfunc of the active run (`stage_run`).

    The model is kept as code plus safetensors, nothing is pickled; it carries the package m3tr, so
    that a machine without the project can serve it.

    Parameters
    ----------
    forecaster : Path
        Folder that `Forecaster.save` wrote; copied.
    example : pandas DataFrame
        A few rows of a request (`payload`); kept with the model and the source of its signature.
        A column that is neither here nor known to `m3tr.registry.payload` is dropped when serving.
    name : str
        The model's name within the run.
    code : Path
        The file that calls `mlflow.models.set_model`.

    Returns
    -------
    str
        Address of the logged model, `models:/m-...`, for `register`.
    """
    import mlflow

    if not forecaster.is_dir():
        raise InputError(f"{forecaster} is no folder with a saved model: run the stage train.")
    info = mlflow.pyfunc.log_model(
        name=name,
        python_model=str(code),
        artifacts={"forecaster": str(forecaster)},
        code_paths=[str(Path(m3tr.__file__).parent)],
        pip_requirements=pip_requirements(),
        input_example=example,
        signature=signature(example),
    )
    return info.model_uri


def register(
    model_uri: str,
    *,
    name: str,
    metrics: Mapping[str, float],
    tags: Mapping[str, Any] | None = None,
) -> str:
    """Make a logged model the next version of `name`, with the alias `challenger`.

    Parameters
    ----------
    model_uri : str
        What `save` returned.
    name : str
        Name of the registered model, created where it does not exist.
    metrics : mapping
        Figures on the test split, as tags of the version.
    tags : mapping, optional
        Further tags of the version (`dataset_md5`, `git_commit`, ...); None values are left out.

    Returns
    -------
    str
        The new version.
    """
    import mlflow

    texts = {k: str(v) for k, v in (tags or {}).items() if v is not None}
    texts |= {k: f"{v:.6g}" for k, v in metrics.items() if v is not None}
    # MLflow tells on stderr what the caller is about to tell
    with contextlib.redirect_stderr(io.StringIO()):
        made = mlflow.register_model(model_uri, name, tags=texts)
    mlflow.MlflowClient().set_registered_model_alias(name, CHALLENGER, str(made.version))
    return str(made.version)


def load(name: str, which: str) -> Any:
    """Load a version by number or alias, e.g. `load("m3tr", "champion")`.

    Returns
    -------
    mlflow.pyfunc.PyFuncModel
        `predict(frame) -> frame`, see `m3tr.registry.served`.

    Raises
    ------
    InputError
        There is no such model, alias or version.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    number = version_of(name, which)
    if number is None:
        raise InputError(f"The registry has no model {name!r} with the alias or version {which!r}.")
    try:
        return mlflow.pyfunc.load_model(f"models:/{name}/{number}")
    except MlflowException as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"Version {number} of {name} cannot be loaded: {first}.") from error


def version_of(name: str, which: str) -> str | None:
    """The version number behind an alias (or the number itself), None where there is none."""
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    try:
        if which.isdigit():
            return str(client.get_model_version(name, which).version)
        return str(client.get_model_version_by_alias(name, which).version)
    except MlflowException as error:
        # an absent alias is an invalid parameter to some stores
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def pip_requirements() -> list[str]:
    """Exact versions of what loading and predicting import, as installed here."""
    faiss = next((p for p in FAISS if _installed(p)), None)
    packages = [*PACKAGES, *([faiss] if faiss else [])]
    return [f"{p}=={found}" for p in packages if (found := _installed(p))]


def signature(example: "pd.DataFrame") -> Any:
    """Signature of the served model: the columns of `example` and all that `tables` knows.

    Text columns are strings; the rest is untyped, for JSON turns 3.0 into 3 and missing numbers
    into null, and `tables` says in one sentence what is wrong with a value.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema, TensorSpec

    names = list(example.columns)
    known = ["video_id", "published_at", *EXTRA, *TEXTS, *NUMBERS, *EMBEDDINGS]
    names += [n for n in known if n not in names]
    strings = {"video_id", "feedback", *TEXTS}
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string if n in strings else AnyType(), n, required=False) for n in names
    ]
    outputs: list[ColSpec | TensorSpec] = [ColSpec(kind, n) for n, kind in OUTPUTS]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _installed(package: str) -> str | None:
    try:
        # without a local label such as +cpu, which no index serves
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None
