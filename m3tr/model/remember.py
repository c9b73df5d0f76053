"""From matured videos to items of the memory bank: identity, keys and what is remembered."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from m3tr.data.duplicates import IDENTITY
from m3tr.data.windows import growth_curves
from m3tr.model.queries import when_younger

if TYPE_CHECKING:
    from m3tr.hawkes.process import MambaHawkes

KEPT = ("video_id", "known_at", "published_at", "observed_at")


def items_of(examples: pl.DataFrame, videos: pl.DataFrame) -> pl.DataFrame:
    """Identity of the examples' videos: ids, times, and what tells near-duplicates."""
    names = [c for c in ("video_id", *IDENTITY) if c in videos.columns]
    return examples.select(KEPT).join(
        videos.select(names), on="video_id", how="left", maintain_order="left"
    )


def outcomes(examples: pl.DataFrame, feedback: pl.DataFrame, target: str) -> dict[str, np.ndarray]:
    """How the examples turned out: `increment` (N, H) and `curve` (N, points), log2 units."""
    return {
        "increment": np.array(examples["increment"].to_list(), float),
        "curve": growth_curves(feedback, examples, target),
    }


def younger_representations(
    mhp: "MambaHawkes", feedback: pl.DataFrame, examples: pl.DataFrame, ages: list[float]
) -> Mapping[float, np.ndarray]:
    """X_s (N, D_s) of the examples at each of some younger ages, days."""
    n = examples.height
    return {age: when_younger(mhp, feedback, examples, np.full(n, age)) for age in ages}
