"""Settings of the training of M3TR: its network, its trees and their blend."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainSettings(BaseModel):
    """Sizes and schedule (docs/model.md, section 5).

    Attributes
    ----------
    members : int
        Members of the network's head, which share most weights and are averaged; 0: no network.
    width, heads, hidden : int
        Size of an embedded token, attention heads, hidden units of the head.
    dropout, token_dropout : float
        Of hidden units, and of the pooled token vectors that enter the head.
    attention : bool
        Paired cross attention of the video and what was retrieved; without it each is only pooled.
    weight_decay, learning_rate : float
    epochs, patience, batch_size : int
        At most so many epochs; training stops after `patience` without gain on validation. Batches
        are smaller where an epoch would have fewer than twenty.
    huber : float
        Error, in standard deviations of the label, from which the loss is linear.
    coverage : float
        Nominal coverage of the prediction intervals.
    boosted : bool
        Blend with two boosted heads on the same inputs.
    trees : int
        Trees of each of two forests on the same inputs that are blended too; 0: none.
    tuning, seeds : int
        Candidates of the search for the settings of a boosted head, and fits that are averaged.
    ages : tuple of float
        Multiples of the observation age at which the base forecast and the boosted heads also see
        the training videos.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    members: int = Field(8, ge=0)
    width: int = Field(16, ge=4)
    heads: int = Field(4, ge=1)
    hidden: int = Field(256, ge=4)
    dropout: float = Field(0.3, ge=0, lt=1)
    token_dropout: float = Field(0.5, ge=0, lt=1)
    attention: bool = True
    weight_decay: float = Field(0.01, ge=0)
    learning_rate: float = Field(2e-3, gt=0)
    epochs: int = Field(40, ge=1)
    patience: int = Field(10, ge=1)
    batch_size: int = Field(256, ge=1)
    huber: float = Field(1.0, gt=0)
    coverage: float = Field(0.8, gt=0, lt=1)
    boosted: bool = True
    trees: int = Field(100, ge=0)
    tuning: int = Field(8, ge=1)
    seeds: int = Field(3, ge=1)
    ages: tuple[Annotated[float, Field(gt=0)], ...] = (0.5, 0.7, 1.4, 2.0)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if not (self.members or self.boosted or self.trees):
            raise ValueError("members, boosted and trees are all off: leave one of them on")
        return self
