"""Settings of the registry room."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RegistrySettings(BaseModel):
    """Where the model is registered and what decides about promotion (docs/mlflow.md).

    Attributes
    ----------
    model : str
        Name of the registered model, as in `models:/m3tr@champion`.
    metric : str
        The figure on the test split by which a challenger has to beat the champion; lower is
        better (docs/model.md, section 7).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(default="m3tr", pattern=r"^[^/:@\s]+$")
    metric: Literal["nmse"] = "nmse"
