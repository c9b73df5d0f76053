"""All baseline rows of the results table, and their forecasts as one table."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from m3tr.baselines.base import LABELS, Baseline, Data, Label
from m3tr.baselines.extra_trees import ExtraTrees
from m3tr.baselines.hawkes import Hawkes
from m3tr.baselines.hip import HawkesIntensity
from m3tr.baselines.knn import NearestNeighbours
from m3tr.baselines.last_count import LastCount
from m3tr.baselines.lightgbm import LightGBM, LightGBMAverage, LightGBMResidual
from m3tr.baselines.mean import Mean
from m3tr.baselines.ridge import Ridge
from m3tr.baselines.szabo_huberman import SzaboHuberman
from m3tr.progress import track
from m3tr.quantiles import LEVELS, central, conformal, crps_from_quantiles

SCHEMA: dict[str, pl.DataType] = {
    "row": pl.String(),
    "information": pl.String(),
    "video_id": pl.String(),
    "label": pl.String(),
    "horizon": pl.Int64(),
    "horizon_days": pl.Float64(),
    "y": pl.Float64(),
    "y_hat": pl.Float64(),
    "lo": pl.Float64(),
    "hi": pl.Float64(),
    "crps": pl.Float64(),
}


def baselines(tuning: int = 8, seeds: int = 5, n_jobs: int = 2, seed: int = 0) -> list[Baseline]:
    """Every baseline, in the order of the results table.

    Parameters
    ----------
    tuning, seeds, n_jobs, seed : int
        Of the LightGBM rows, see `Boosting`.
    """
    raw = LightGBM("CF", tuning, seeds, n_jobs, seed)
    residual = LightGBMResidual("CF", tuning, seeds, n_jobs, seed)
    return [
        Mean(),
        LastCount(),
        Ridge("F"),
        Ridge("CF"),
        NearestNeighbours(),
        SzaboHuberman(),
        Hawkes(),
        HawkesIntensity(),
        ExtraTrees(n_jobs, seed),
        LightGBM("C", tuning, seeds, n_jobs, seed),
        LightGBM("F", tuning, seeds, n_jobs, seed),
        raw,
        residual,
        LightGBMAverage(raw, residual),
    ]


def predictions(
    rows: Sequence[Baseline], train: Data, validation: Data, test: Data, coverage: float = 0.8
) -> pl.DataFrame:
    """Fit every row to both labels and forecast the test split.

    Around each forecast lie the conformal quantiles of the row's own validation errors, the same
    for every video, cut at 0.

    Returns
    -------
    DataFrame with the columns `SCHEMA`: one row a baseline, label, video and horizon; `lo` and `hi`
    hold the interval of nominal `coverage`. They and `crps` are null where validation is empty.
    """
    tasks = [(row, label) for row in rows for label in LABELS]
    parts = []
    for row, label in track(tasks, "baselines"):
        y_hat = row.fit(train, validation, label).predict(test)
        lo = hi = crps = None
        if len(validation):
            errors = validation.y(label) - row.predict(validation)
            ends = _around(y_hat, errors, central(coverage))
            lo, hi = np.minimum(ends[..., 0], y_hat), np.maximum(ends[..., 1], y_hat)
            crps = crps_from_quantiles(test.y(label), _around(y_hat, errors, LEVELS), LEVELS)
        parts.append(prediction_frame(row.name, row.information, label, test, y_hat, lo, hi, crps))
    return pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)


def prediction_frame(
    row: str,
    information: str,
    label: Label,
    data: Data,
    y_hat: np.ndarray,
    lo: np.ndarray | None = None,
    hi: np.ndarray | None = None,
    crps: np.ndarray | None = None,
) -> pl.DataFrame:
    """Forecasts (N, H) of one row and label in log2 units, as a table like `SCHEMA`."""
    y = data.y(label)
    n, n_horizons = y.shape
    flat = {
        "video_id": np.repeat(data.examples["video_id"].to_numpy(), n_horizons),
        "horizon": np.tile(np.arange(n_horizons), n),
        "horizon_days": data.horizon_days.ravel(),
        "y": y.ravel(),
        "y_hat": np.asarray(y_hat, float).ravel(),
        "lo": None if lo is None else np.asarray(lo, float).ravel(),
        "hi": None if hi is None else np.asarray(hi, float).ravel(),
        "crps": None if crps is None else np.asarray(crps, float).ravel(),
    }
    constants = {"row": row, "information": information, "label": label}
    frame = pl.DataFrame({k: v for k, v in flat.items() if v is not None})
    absent = [pl.lit(None, pl.Float64).alias(k) for k, v in flat.items() if v is None]
    frame = frame.with_columns(*absent, **{k: pl.lit(v) for k, v in constants.items()})
    return frame.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


def _around(y_hat: np.ndarray, errors: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Forecasts (N, H) plus the quantiles of errors (n, H), shape (N, H, Q); none below 0."""
    return np.maximum(y_hat[:, :, None] + conformal(errors, levels), 0.0)
