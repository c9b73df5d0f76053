"""Settings of the memory bank."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class BankSettings(BaseModel):
    """How neighbours are scored and averaged (docs/model.md, section 4).

    Attributes
    ----------
    eta : float
        Weight of trajectory against content similarity; 1 is trajectory only, 0 content only.
    k : int
        Neighbours retrieved for each query.
    weighting : str
        `mean`, or `softmax` of the scores at `temperature`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    eta: float = Field(0.5, ge=0, le=1)
    k: int = Field(10, ge=1)
    weighting: Literal["mean", "softmax"] = "mean"
    temperature: float = Field(0.1, gt=0)
