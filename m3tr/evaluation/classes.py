"""Trajectory classes, for reporting only: they use the outcome, so no model may see them.

The rule (docs/evaluation.md) reads the target's whole curve over (0, H], H the last horizon, in
`BINS` bins of equal age. The cumulative curve is interpolated between rows, so that a counter
series and an event log are treated alike. The first that holds:

1. sparse: fewer than `SPARSE` counts;
2. rollercoaster: two peaks of the binned rate with a valley between them of at most half the
   smaller peak, and lower by more than three standard deviations of counting noise;
3. early surge: half of the counts or more in the first quarter of (0, H];
4. late surge: half or more in the last quarter;
5. steady.
"""

import numpy as np
import polars as pl

CLASSES = ("steady", "early surge", "late surge", "rollercoaster", "sparse")
BINS = 12
SPARSE = 10
VALLEY = 0.5
SURGE = 0.5
# with two, a constant rate of ten counts a bin is a rollercoaster one time in five; with three, 1 %
NOISE = 3.0


def trajectory_classes(feedback: pl.DataFrame, examples: pl.DataFrame, target: str) -> pl.DataFrame:
    """Class of each example.

    Parameters
    ----------
    feedback : DataFrame
        The whole feedback table: video_id, time, kind, count.
    examples : DataFrame
        N examples: video_id, published_at, horizon_days.
    target : str
        The kind that is forecast.

    Returns
    -------
    DataFrame with columns video_id and class, in the order of `examples`.
    """
    ids = examples.select(
        "video_id", "published_at", end=pl.col("horizon_days").list.last()
    ).with_row_index("i")
    rows = (
        feedback.filter(pl.col("kind") == target)
        .join(ids, on="video_id", how="inner")
        .with_columns(
            age=(pl.col("time") - pl.col("published_at")).dt.total_microseconds() / 86_400e6
        )
        .filter((pl.col("age") > 0) & (pl.col("age") <= pl.col("end")))
        .group_by("i", "age")
        .agg(pl.col("count").sum())
        .sort("i", "age")
    )
    i, age = rows["i"].to_numpy(), rows["age"].to_numpy()
    count, ends = rows["count"].to_numpy(), ids["end"].to_numpy()
    cuts = np.searchsorted(i, np.arange(len(ends) + 1))
    names = [
        classify(binned(age[a:b], count[a:b], end))
        for a, b, end in zip(cuts[:-1], cuts[1:], ends, strict=True)
    ]
    return ids.select("video_id").with_columns(pl.Series("class", names, dtype=pl.String))


def binned(age: np.ndarray, count: np.ndarray, end: float) -> np.ndarray:
    """Counts in `BINS` equal bins of (0, end] from rows at ascending, distinct ages (days)."""
    grid = np.linspace(0.0, end, BINS + 1)
    total = np.concatenate([[0.0], np.cumsum(count, dtype=float)])
    return np.diff(np.interp(grid, np.concatenate([[0.0], age]), total))


def classify(counts: np.ndarray) -> str:
    """Class of one curve from its counts in equal bins of (0, H]."""
    total = counts.sum()
    if total < SPARSE:
        return "sparse"
    if _peaks_twice(counts):
        return "rollercoaster"
    quarter = len(counts) // 4
    if counts[:quarter].sum() >= SURGE * total:
        return "early surge"
    if counts[-quarter:].sum() >= SURGE * total:
        return "late surge"
    return "steady"


def _peaks_twice(counts: np.ndarray) -> bool:
    """Whether some bin is a valley between a higher bin on its left and one on its right."""
    before = np.maximum.accumulate(counts)
    after = np.maximum.accumulate(counts[::-1])[::-1]
    peak = np.minimum(before, after)  # at a valley: the smaller of the two peaks around it
    deep = counts <= VALLEY * peak
    return bool(np.any(deep & (peak - counts > NOISE * np.sqrt(peak + counts))))
