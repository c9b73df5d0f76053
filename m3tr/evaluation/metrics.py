"""Point and interval metrics on log2 labels (docs/evaluation.md, docs/model.md section 7).

Every function takes whole-test-set arrays of shape (N,); none averages over batches, except the
one whose name says so.
"""

import math
from collections.abc import Callable

import numpy as np

TOP_SHARE = 0.2
BATCH = 256


def nmse(y: np.ndarray, y_hat: np.ndarray) -> float:
    """Mean squared error over the population variance of `y`; NaN where `y` is constant."""
    variance = float(np.var(y)) if len(y) else 0.0
    return float(np.mean((y_hat - y) ** 2)) / variance if variance > 0 else math.nan


def src(y: np.ndarray, y_hat: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where `y` or `y_hat` is constant."""
    from scipy.stats import spearmanr

    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(y_hat) == 0:
        return math.nan
    return float(spearmanr(y, y_hat).statistic)


def mae(y: np.ndarray, y_hat: np.ndarray) -> float:
    """Mean absolute error in log2 units: 1 is a factor of two."""
    return float(np.mean(np.abs(y_hat - y))) if len(y) else math.nan


def coverage(y: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> float:
    """Share of `y` in [lo, hi]; NaN where the interval is missing."""
    known = np.isfinite(lo) & np.isfinite(hi)
    return float(np.mean((lo <= y)[known] & (y <= hi)[known])) if known.any() else math.nan


def width(lo: np.ndarray, hi: np.ndarray) -> float:
    """Mean width of the intervals in log2 units; NaN where they are missing."""
    known = np.isfinite(lo) & np.isfinite(hi)
    return float(np.mean((hi - lo)[known])) if known.any() else math.nan


def precision_at_top(y: np.ndarray, y_hat: np.ndarray, share: float = TOP_SHARE) -> float:
    """Share of the `share` highest forecasts that are among the `share` highest outcomes.

    Ties at either threshold count with the expectation of a random order among them, so a constant
    forecast scores `share` and not what the order of the rows makes of it.
    """
    if len(y) == 0:
        return math.nan
    k = math.ceil(share * len(y))
    return float(_top(y_hat, k) @ _top(y, k) / k)


def batched(
    metric: Callable[[np.ndarray, np.ndarray], float],
    y: np.ndarray,
    y_hat: np.ndarray,
    size: int = BATCH,
) -> float:
    """`metric` averaged over consecutive batches of `size`, as published tables do.

    For comparison with those tables only: the average depends on the order of the rows. Batches
    in which the metric is undefined are left out.
    """
    starts = range(0, len(y), size)
    values = np.array([metric(y[i : i + size], y_hat[i : i + size]) for i in starts])
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


def skill(y: np.ndarray, y_hat: np.ndarray, y_reference: np.ndarray) -> float:
    """1 - MSE / MSE of a reference forecast: 0 is no better, 1 is perfect."""
    reference = float(np.mean((y_reference - y) ** 2)) if len(y) else 0.0
    return 1.0 - float(np.mean((y_hat - y) ** 2)) / reference if reference > 0 else math.nan


def _top(x: np.ndarray, k: int) -> np.ndarray:
    """Probability of each item to be among the `k` highest under a random order of ties."""
    threshold = np.partition(x, len(x) - k)[len(x) - k]
    above, tied = x > threshold, x == threshold
    return above + tied * ((k - above.sum()) / tied.sum())
