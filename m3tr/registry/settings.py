"""Settings of the registry room."""

from pydantic import BaseModel, ConfigDict, Field


class RegistrySettings(BaseModel):
    """Where the model is registered (docs/mlflow.md).

    Attributes
    ----------
    model : str
        Name of the registered model, as in `models:/m3tr@champion`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(default="m3tr", pattern=r"^[^/:@\s]+$")
