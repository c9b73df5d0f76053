"""Settings of the point processes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


class HawkesSettings(BaseModel):
    """Settings of `MambaHawkes` and of its fit; docs/hawkes.md says what each part computes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    decays_days: list[Positive] = Field(
        default=[0.005, 0.05, 0.5, 5.0, 50.0],
        min_length=1,
        description="Time scales of the memory, days; decay rate m is 1 / decays_days[m].",
    )
    marks: Literal["log", "linear"] = Field(
        default="log", description="Weight of an event of count c: log2(1 + c) or c."
    )
    classical: bool = Field(default=True, description="Self- and mutual excitation (alpha).")
    context: bool = Field(default=True, description="The Mamba context under a softplus.")
    width: int = Field(default=24, ge=1, description="Width of the context vector.")
    state: int = Field(default=8, ge=1, description="States per channel of the scan.")
    layers: int = Field(default=1, ge=1, description="Blocks of the context network.")
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=64, ge=1, description="Sequences per step.")
    learning_rate: Positive = 5e-3
    clip: Positive = Field(default=1.0, description="Largest norm of the gradient.")
    validation_share: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the sequences held out for early stopping."
    )
    patience: int = Field(default=3, ge=1, description="Epochs without gain before stopping.")
    seed: int = 0
