"""Settings of the evaluation."""

from pydantic import BaseModel, ConfigDict, Field


class Bounds(BaseModel):
    """What a forecaster must reach at the headline to be promoted; None asks for nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_nmse: float | None = Field(default=None, gt=0)
    max_mae: float | None = Field(default=None, gt=0)
    min_src: float | None = Field(default=None, ge=-1, le=1)
    min_skill: float | None = Field(default=None, le=1)
    min_coverage: float | None = Field(default=None, ge=0, le=1)


class EvaluationSettings(BaseModel):
    """How forecasts are scored (docs/evaluation.md).

    Attributes
    ----------
    bootstrap : int
        Resamples behind every interval; 0 prints none.
    tuning : int
        Candidates of the LightGBM search.
    seeds : int
        LightGBM fits that are averaged.
    n_jobs : int
        Threads of the baselines.
    batched : bool
        Also print nMSE and SRC averaged over test batches of 256, as published tables do.
    bounds : Bounds
        Bounds of the row M3TR at the headline.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    bootstrap: int = Field(default=1000, ge=0)
    tuning: int = Field(default=8, ge=1)
    seeds: int = Field(default=5, ge=1)
    n_jobs: int = Field(default=2, ge=1)
    batched: bool = False
    bounds: Bounds = Bounds()
