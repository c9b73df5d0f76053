"""The rows `LightGBM C`, `LightGBM F` and `LightGBM CF`: tuned gradient-boosted trees.

They are the baselines to beat. A seeded random search over a fixed grid is scored at the last
horizon on the validation split with early stopping; the chosen settings are then fitted at every
horizon with several seeds, whose forecasts are averaged.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from m3tr.baselines.base import Baseline, Data, Information, Label

GRID: dict[str, tuple[float, ...]] = {
    "num_leaves": (4, 7, 15, 31),
    "min_child_samples": (5, 10, 20, 40),
    "learning_rate": (0.05, 0.1, 0.15),
    "feature_fraction": (0.3, 0.5, 0.8),
    "lambda_l2": (0.0, 1.0, 10.0),
}
# tried first, so that a budget of one is a sensible model
DEFAULT = {
    "num_leaves": 7,
    "min_child_samples": 20,
    "learning_rate": 0.1,
    "feature_fraction": 0.5,
    "lambda_l2": 1.0,
}
MAX_ROUNDS = 400
PATIENCE = 25


class LightGBM(Baseline):
    """Boosted trees on one information set.

    Parameters
    ----------
    information : {"C", "F", "CF"}
        Which covariates are read.
    tuning : int
        Candidates of the search.
    seeds : int
        Fits that are averaged.
    n_jobs : int
        Boosters fitted at the same time, one thread each; the result does not depend on it.
    seed : int
        Seed of the search and the first fit.
    """

    def __init__(
        self,
        information: Information,
        tuning: int = 8,
        seeds: int = 3,
        n_jobs: int = 2,
        seed: int = 0,
    ) -> None:
        self.name = f"LightGBM {information}"
        self.information = information
        self.tuning, self.seeds, self.n_jobs, self.seed = tuning, seeds, n_jobs, seed

    def candidates(self) -> list[dict[str, float]]:
        """The settings of the search, in the order tried."""
        rng = np.random.default_rng(self.seed)
        drawn = [
            {name: values[rng.integers(len(values))] for name, values in GRID.items()}
            for _ in range(max(self.tuning, 1) - 1)
        ]
        return [dict(DEFAULT), *drawn]

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        y, y_val = train.y(label), validation.y(label)
        X, X_val = train.covariates(self.information), validation.covariates(self.information)
        last = y.shape[1] - 1

        def boost(settings: dict[str, float], h: int, seed: int) -> tuple[Any, float]:
            return _boost(settings, seed, X, y[:, h], X_val, y_val[:, h] if len(y_val) else None)

        # single-threaded boosters side by side: threads inside one wait for each other at every
        # split, and where cores are shared that costs more than it gains
        with ThreadPoolExecutor(self.n_jobs) as pool:
            tried = self.candidates() if len(y_val) else []
            errors = [e for _, e in pool.map(lambda c: boost(c, last, self.seed), tried)]
            self.settings = tried[int(np.argmin(errors))] if tried else dict(DEFAULT)
            seeds = range(self.seed, self.seed + max(self.seeds, 1))
            jobs = [(h, seed) for h in range(y.shape[1]) for seed in seeds]
            fits = [m for m, _ in pool.map(lambda job: boost(self.settings, *job), jobs)]
        self.models = [fits[i : i + len(seeds)] for i in range(0, len(fits), len(seeds))]

    def _predict(self, data: Data) -> np.ndarray:
        X = data.covariates(self.information)
        return np.column_stack(
            [np.mean([m.predict(X, num_threads=1) for m in ms], 0) for ms in self.models]
        )


def _boost(
    settings: dict[str, float],
    seed: int,
    X: np.ndarray,
    y: np.ndarray,
    X_val: np.ndarray,
    y_val: np.ndarray | None,
) -> tuple[Any, float]:
    """One booster and its squared error on validation (NaN where there is none)."""
    import lightgbm as lgb

    parameters = settings | {
        "objective": "l2",
        "max_bin": 63,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
    }
    data = lgb.Dataset(X, y, params={"max_bin": 63, "num_threads": 1, "verbosity": -1})
    if y_val is None:
        return lgb.train(parameters, data, num_boost_round=MAX_ROUNDS // 4), float("nan")
    booster = lgb.train(
        parameters,
        data,
        num_boost_round=MAX_ROUNDS,
        valid_sets=[lgb.Dataset(X_val, y_val, reference=data)],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    return booster, float(booster.best_score["valid_0"]["l2"])
