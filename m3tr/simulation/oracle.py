"""Forecasts of somebody who knows the true process: floors for every model's error."""

from pathlib import Path

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.simulation.bayes import bayes_forecast
from m3tr.simulation.process import immigration
from m3tr.simulation.replay import cases, continuations, kind_number, true_profile

FORECASTS = ("profile", "past")


def best_forecast(
    out_dir: Path, examples: pl.DataFrame, n_paths: int = 200, target: str = "view", seed: int = 0
) -> np.ndarray:
    """`E[log2(1 + N(a, H])]` by Monte-Carlo continuation of the true process.

    Each example is continued `n_paths` times from its true history up to the observation age `a`,
    with the true branching and the true immigration. Fake likes are left out of the history: they
    excite nothing. The immigration profile is hidden from every model, so the error of this
    forecast is a lower bound, not a level that a model can be expected to reach; `bayes_forecast`
    knows no more than what content and the past can show.

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
    kind = kind_number(target, "best_forecast")
    forecasts = []
    for i, case in enumerate(cases(out_dir, examples, "best forecast")):
        profile = true_profile(case.truth)
        mu = immigration(profile, case.truth["publication_hour"], max(case.horizons))
        path_seed = int(np.random.default_rng([seed, i]).integers(2**62))
        forecasts.append(continuations(case, mu, kind, path_seed, n_paths).mean(axis=0))
    return np.array(forecasts, dtype=np.float64)


def attainable_nmse(
    out_dir: Path,
    examples: pl.DataFrame,
    n_paths: int = 200,
    target: str = "view",
    knowing: str = "profile",
) -> np.ndarray:
    """Best attainable nMSE of the increment label at each horizon, (n_horizons,).

    Parameters
    ----------
    out_dir, n_paths, target
        As of `best_forecast`.
    examples : pl.DataFrame
        Those of `best_forecast` with the column increment (List, log2 labels). The mean predictor
        scores 1.
    knowing : str
        "profile": the hidden immigration too (`best_forecast`); "past": the causes of the content
        and the feedback up to the age only (`bayes_forecast`).

    Raises
    ------
    InputError
        As of `best_forecast`, and where `knowing` is neither.
    """
    if knowing not in FORECASTS:
        raise InputError(f"attainable_nmse: knowing is {knowing!r}; choose one of {FORECASTS}.")
    forecast = best_forecast if knowing == "profile" else bayes_forecast
    y = np.array(examples["increment"].to_list(), dtype=np.float64)
    error = ((forecast(out_dir, examples, n_paths=n_paths, target=target) - y) ** 2).mean(axis=0)
    return error / y.var(axis=0)
