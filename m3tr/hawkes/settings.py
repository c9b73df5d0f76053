"""Settings of the point processes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class HawkesSettings(BaseModel):
    """Settings of `MambaHawkes` and of its fit; docs/hawkes.md says what each part computes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    decays: list[Positive] | None = Field(
        default=None,
        min_length=1,
        description="Time scales of the memory, in days (in m3tr.hawkes: in the unit of the data); "
        "decay rate m is 1 / decays[m]. Without them, `scales` of them are learned.",
    )
    scales: int = Field(default=3, ge=1, description="Number of time scales that are learned.")
    marks: Literal["log", "linear"] = Field(
        default="log", description="Weight of an event of count c: log2(1 + c) or c."
    )
    classical: bool = Field(default=True, description="Self- and mutual excitation (alpha).")
    context: bool = Field(default=True, description="The context network under a softplus.")
    gate: bool = Field(
        default=True,
        description="The context also scales the classical part, until the next event.",
    )
    encoder: Literal["mamba", "transformer"] = Field(
        default="mamba", description="What reads the history: a selective scan or attention."
    )
    width: int = Field(default=32, ge=1, description="Width of the context vector.")
    state: int = Field(default=8, ge=1, description="States per channel of the scan.")
    layers: int = Field(default=2, ge=1, description="Blocks of the context network.")
    knots: int = Field(
        default=12, ge=1, description="Pieces of the spline in elapsed time under the softplus."
    )
    dropout: Share = Field(default=0.1, description="In the blocks and before the head.")
    classes: int = Field(
        default=6,
        ge=0,
        le=64,
        description="Latent trajectory classes of an event log (LatentClasses); below 2: none.",
    )
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=64, ge=1, description="Sequences per step.")
    learning_rate: Positive = Field(default=5e-3, description="Its peak; warm-up, then a cosine.")
    weight_decay: float = Field(default=0.01, ge=0)
    clip: Positive = Field(default=1.0, description="Largest norm of the gradient.")
    validation_share: Share = Field(
        default=0.1, description="Share of the sequences held out to choose the epoch."
    )
    patience: int = Field(default=5, ge=1, description="Epochs without gain before stopping.")
    seed: int = 0

    @property
    def n_scales(self) -> int:
        """Number `M` of decay rates."""
        return self.scales if self.decays is None else len(self.decays)
