"""The numbers of a video as one more modality of its content (docs/model.md, section 4).

Who made it and how it is filed: creator counts, categories, lengths, publication hour. Encoders of
picture, sound and text see none of it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from m3tr.data.covariates import ContentCovariates
from m3tr.memory.keys import CLIP

NUMBERS = "numbers"


class Numbers:
    """Content covariates without embeddings, in standard deviations of the training split.

    `KeyMaker` takes them like the embedding of a modality, under the name `NUMBERS`.
    """

    def __init__(self) -> None:
        self.covariates = ContentCovariates()
        self.mean, self.scale = np.zeros(0), np.ones(0)

    def fit(self, videos: pl.DataFrame) -> "Numbers":
        """Fit on the training split's rows of the videos table."""
        self.covariates.fit(videos)
        x = self.covariates.transform(videos)
        self.mean, spread = x.mean(0), x.std(0)
        self.scale = np.where(spread > 1e-6, spread, 1.0)
        return self

    def transform(self, videos: pl.DataFrame) -> np.ndarray:
        """One row of numbers a video, (N, D) float32; every video has them."""
        z = (self.covariates.transform(videos) - self.mean) / self.scale
        return np.clip(z, -CLIP, CLIP).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, as plain JSON values."""
        scales = {"mean": self.mean.tolist(), "scale": self.scale.tolist()}
        return {"covariates": self.covariates.state()} | scales

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Numbers":
        """The inverse of `state`."""
        new = cls()
        new.covariates = ContentCovariates.from_state(state["covariates"])
        new.mean, new.scale = np.array(state["mean"]), np.array(state["scale"])
        return new
