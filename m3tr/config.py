"""params.yaml as typed, frozen settings; the only place that reads it."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from m3tr.data.settings import QualitySettings, TaskSettings, format_duration
from m3tr.errors import InputError
from m3tr.evaluation.settings import EvaluationSettings
from m3tr.features.settings import FeatureSettings
from m3tr.hawkes.settings import HawkesSettings
from m3tr.memory.settings import BankSettings
from m3tr.registry.settings import RegistrySettings
from m3tr.training.settings import TrainSettings

FILE = "params.yaml"


class Params(BaseModel):
    """All settings of a workspace, by stage.

    Attributes
    ----------
    name : str
        Of the dataset; it names the MLflow experiment.
    seed : int
        Of everything random but the split (`task.seed`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # MLflow takes no longer name of an experiment
    name: str = Field(min_length=1, max_length=200)
    seed: int = 7
    task: TaskSettings = TaskSettings()
    quality: QualitySettings = QualitySettings()
    features: FeatureSettings = FeatureSettings()
    hawkes: HawkesSettings = HawkesSettings()
    bank: BankSettings = BankSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluationSettings = EvaluationSettings()
    registry: RegistrySettings = RegistrySettings()

    @model_validator(mode="after")
    def _ages_of_the_bank(self) -> Self:
        own, ages = self.task.observe.age, self.bank.ages or []
        if ages and own is None:
            raise ValueError(
                "bank.ages: under task.observe.until every video is met at its own age, remove it"
            )
        late = [age for age in ages if own is not None and not timedelta(0) < age < own]
        if late and own is not None:
            raise ValueError(
                f"bank.ages: {format_duration(late[0])} is not between 0 and the observation age "
                f"{format_duration(own)}, remove it"
            )
        return self


def read_params(workspace: Path) -> Params:
    """Read and check `params.yaml` of a workspace.

    Raises
    ------
    InputError
        Where the file is missing, is no YAML mapping, or holds an unknown key or a bad value.
    """
    path = workspace / FILE
    try:
        content: Any = yaml.safe_load(path.read_text())
    except OSError:
        raise InputError(
            f"{path} cannot be read: copy the one of the repository and edit it"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise InputError(f"{path} is not valid YAML{line}: mend it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no settings: copy the one of the repository and edit it")
    try:
        return Params(**content)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from None
    except TypeError:
        raise InputError(f"{path}: every key must be a word") from None


def digest(workspace: Path) -> str:
    """Short digest of params.yaml, for provenance."""
    return hashlib.sha256((workspace / FILE).read_bytes()).hexdigest()[:12]


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}': remove it or correct its spelling"
    message = first["msg"].removeprefix("Value error, ")
    return f"'{key}': {message}" if key else message
