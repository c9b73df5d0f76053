"""Examples with labels straight from a world's tables, without the pipeline."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from m3tr.simulation.replay import true_history

HORIZONS = [2.0, 4.0, 7.0]


def views(out: Path, low: float, high: float) -> np.ndarray:
    """Views with age in (low, high], rows as in videos.parquet."""
    ids = pl.read_parquet(out / "data/videos.parquet")["video_id"]
    history = true_history(out)
    counts = []
    for video_id in ids:
        ages, kinds = history.get(video_id, (np.empty(0), np.empty(0)))
        counts.append(((ages > low) & (ages <= high) & (kinds == 0)).sum())
    return np.array(counts)


def labelled_examples(out: Path, n: int, age: float = 1.0) -> pl.DataFrame:
    """The first `n` videos, observed at `age`."""
    y = np.stack([np.log2(1 + views(out, age, h)) for h in HORIZONS], axis=1)[:n]
    videos = pl.read_parquet(out / "data/videos.parquet").head(n)
    return videos.select(
        "video_id",
        age_days=pl.lit(age),
        horizon_days=pl.lit(HORIZONS),
        increment=pl.Series(y.tolist(), dtype=pl.List(pl.Float64)),
    )


def without_later_feedback(world: Path, out: Path, age_days: int = 1) -> Path:
    """A copy of the world at `out` whose feedback ends at the age."""
    shutil.copytree(world / "data", out / "data")
    videos = pl.read_parquet(out / "data/videos.parquet").select("video_id", "published_at")
    (
        pl.read_parquet(out / "data/feedback.parquet")
        .join(videos, on="video_id")
        .filter(pl.col("time") - pl.col("published_at") <= pl.duration(days=age_days))
        .drop("published_at")
        .write_parquet(out / "data/feedback.parquet")
    )
    return out
