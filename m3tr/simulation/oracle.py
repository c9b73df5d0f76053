"""The forecast of somebody who knows the true process: a floor for every model's error."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.hawkes.simulate import simulate_counts
from m3tr.progress import track
from m3tr.simulation.feedback import MICROSECONDS_PER_DAY
from m3tr.simulation.process import BETA, KINDS, Profile, immigration, jumps


def best_forecast(
    out_dir: Path, examples: pl.DataFrame, n_paths: int = 200, target: str = "view", seed: int = 0
) -> np.ndarray:
    """`E[log2(1 + N(a, H])]` by Monte-Carlo continuation of the true process.

    Each example is continued `n_paths` times from its true history up to the observation age `a`,
    with the true branching and the true immigration. Fake likes are left out of the history: they
    excite nothing. The immigration profile is hidden from every model, so the error of this
    forecast is a lower bound, not a level that a model can be expected to reach.

    Parameters
    ----------
    out_dir : Path
        Workspace that `simulate_dataset` wrote to.
    examples : pl.DataFrame
        Columns video_id, age_days and horizon_days (ages H, in days; the same number in each row).
    n_paths : int
        Continuations; their spread adds about 1/n_paths of the residual variance to the error.
    target : str
        Feedback kind that is counted.
    seed : int

    Returns
    -------
    (N, n_horizons) float64 array, log2 units, rows as in `examples`

    Raises
    ------
    InputError
        Where a video is not part of the world or the kind is unknown. See docs/simulation.md.
    """
    if target not in KINDS:
        raise InputError(f"best_forecast: unknown kind {target!r}; the world has {KINDS}.")
    histories = true_history(out_dir)
    truth = {row["video_id"]: row for row in _read(out_dir, "truth.parquet").iter_rows(named=True)}
    kind = KINDS.index(target)
    alpha = jumps()
    forecasts = []
    rows = examples.select("video_id", "age_days", "horizon_days").iter_rows()
    for i, (video_id, age, horizons) in enumerate(
        track(rows, "best forecast", total=examples.height)
    ):
        if video_id not in truth:
            raise InputError(f"{out_dir}/data/truth.parquet has no video {video_id!r}.")
        row = truth[video_id]
        mu = immigration(true_profile(row), row["publication_hour"], max(horizons))
        times, kinds = histories.get(video_id, (np.empty(0), np.empty(0, dtype=np.int64)))
        seen = times <= age
        history = (times[seen], kinds[seen], np.ones(int(seen.sum())))
        path_seed = int(np.random.default_rng([seed, i]).integers(2**62))
        # the same seed for every horizon: the shorter path is a prefix of the longer one
        forecasts.append(
            [
                np.log2(
                    1.0
                    + simulate_counts(
                        *mu, alpha, BETA, h, path_seed, n_paths, history=history, start=age
                    )[:, kind]
                ).mean()
                for h in horizons
            ]
        )
    return np.array(forecasts, dtype=np.float64)


def attainable_nmse(
    out_dir: Path, examples: pl.DataFrame, n_paths: int = 200, target: str = "view"
) -> np.ndarray:
    """Best attainable nMSE of the increment label at each horizon, (n_horizons,).

    `examples` also has the column increment (List, log2 labels). The mean predictor scores 1.
    """
    y = np.array(examples["increment"].to_list(), dtype=np.float64)
    error = ((best_forecast(out_dir, examples, n_paths, target) - y) ** 2).mean(axis=0)
    return error / y.var(axis=0)


def true_history(out_dir: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ages (days) and kinds of each video's feedback without the fake likes."""
    truth = _read(out_dir, "truth.parquet")
    published = _read(out_dir, "videos.parquet").select("video_id", "published_at")
    fake = (
        truth.select("video_id", us="fake_like_us")
        .explode("us")
        .drop_nulls()
        .with_columns(kind=pl.lit("like"))
    )
    feedback = (
        _read(out_dir, "feedback.parquet")
        .join(published, on="video_id")
        .with_columns(us=(pl.col("time") - pl.col("published_at")).dt.total_microseconds())
        .join(fake, on=["video_id", "us", "kind"], how="anti")
        .sort("video_id", "us")
    )
    codes = {name: i for i, name in enumerate(KINDS)}
    return {
        str(key[0]): (
            part["us"].to_numpy() / MICROSECONDS_PER_DAY,
            part["kind"].replace_strict(codes, return_dtype=pl.Int64).to_numpy(),
        )
        for key, part in feedback.partition_by("video_id", as_dict=True).items()
    }


def true_profile(row: dict[str, Any]) -> Profile:
    """The immigration profile in a row of truth.parquet."""
    return Profile(
        volume=row["volume"],
        trend_weight=row["trend_weight"],
        trend_days=row["trend_days"],
        surge_age=tuple(row["surge_age"]),
        surge_width=tuple(row["surge_width"]),
        surge_weight=tuple(row["surge_weight"]),
        mix=tuple(row["mix"]),
    )


def _read(out_dir: Path, name: str) -> pl.DataFrame:
    path = Path(out_dir) / "data" / name
    if not path.exists():
        raise InputError(f"{path} is missing; write a world with `m3tr simulate` first.")
    return pl.read_parquet(path)
