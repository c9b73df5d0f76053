"""Tuned gradient boosting: a seeded search on validation, then several seeds averaged.

The search is made at the last horizon with early stopping; what it finds is fitted at every
horizon. The covariates are put into bins once a horizon and thread, whatever the number of fits.
"""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from m3tr.errors import InputError
from m3tr.progress import track

T = TypeVar("T")

GRID: dict[str, tuple[float, ...]] = {
    "num_leaves": (4, 7, 15, 31),
    "min_child_samples": (5, 10, 20, 40),
    "learning_rate": (0.05, 0.1, 0.15),
    "feature_fraction": (0.3, 0.5, 0.8, 1.0),
    "lambda_l2": (0.0, 1.0, 10.0),
}
# tried first, in this order: they won on validation for counters and event logs, large and small
FIRST: tuple[tuple[float, ...], ...] = (
    (15, 10, 0.1, 1.0, 1.0),
    (31, 5, 0.05, 0.8, 1.0),
    (31, 20, 0.05, 1.0, 10.0),
    (7, 20, 0.1, 0.5, 1.0),
)
MAX_ROUNDS = 400
PATIENCE = 25
BINS = {"max_bin": 63, "num_threads": 1, "verbosity": -1, "feature_pre_filter": False}
SQUARED: Mapping[str, Any] = {"objective": "l2"}
HUBER: Mapping[str, Any] = {"objective": "huber", "alpha": 1.0}  # label units; linear beyond
FIXED = BINS | {
    "metric": "l2",
    "bagging_fraction": 0.8,
    "deterministic": True,
    "force_row_wise": True,
}


class Boosting:
    """Boosted trees for several horizons.

    Parameters
    ----------
    tuning : int
        Candidates of the search.
    seeds : int
        Fits that are averaged.
    n_jobs : int
        Boosters fitted at the same time, one thread each; the result does not depend on it.
    seed : int
        Seed of the search and the first fit.
    objective : mapping
        `SQUARED` or `HUBER`; validation is judged by the squared error in any case.

    Attributes
    ----------
    settings, error : dict and float
        What the search found, after `fit`, and its squared error on validation.
    models : list of lists
        LightGBM boosters, by horizon and seed.
    """

    def __init__(
        self,
        tuning: int,
        seeds: int,
        n_jobs: int = 2,
        seed: int = 0,
        objective: Mapping[str, Any] = SQUARED,
    ) -> None:
        self.tuning, self.seeds, self.n_jobs, self.seed = tuning, seeds, n_jobs, seed
        self.objective = objective

    def candidates(self) -> list[dict[str, float]]:
        """The settings of the search, in the order tried."""
        rng = np.random.default_rng(self.seed)
        first = [dict(zip(GRID, values, strict=True)) for values in FIRST]
        drawn = [
            {name: values[rng.integers(len(values))] for name, values in GRID.items()}
            for _ in range(self.tuning - len(first))
        ]
        return [*first, *drawn][: max(self.tuning, 1)]

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        X_val: np.ndarray,
        y_val: np.ndarray,
        weight: np.ndarray | None = None,
        shown_as: str = "",
    ) -> "Boosting":
        """Fit on X (N, D), y (N, H) and weights (N,) of the rows.

        Without validation rows it is the first candidate, with a fixed number of trees. Progress
        is shown under the name `shown_as`, without one not at all.
        """
        # LightGBM writes to the data that it trains on: no two threads may share them
        local = threading.local()

        def boost(h: int, settings: dict[str, float], seed: int) -> tuple[Any, float]:
            binned = local.__dict__.setdefault("binned", {})
            if h not in binned:
                binned[h] = _Binned(X, y[:, h], X_val, y_val[:, h] if len(y_val) else None, weight)
            return binned[h].boost({**self.objective, **settings}, seed)

        def shown(fits: Iterable[T], total: int) -> list[T]:
            return list(track(fits, shown_as, total) if shown_as else fits)

        horizons, last = range(y.shape[1]), y.shape[1] - 1
        tried = self.candidates() if len(y_val) else self.candidates()[:1]
        seeds = range(self.seed, self.seed + max(self.seeds, 1))
        # single-threaded boosters side by side: threads inside one wait for each other at every
        # split, and where cores are shared that costs more than it gains
        with ThreadPoolExecutor(self.n_jobs) as pool:
            found = shown(pool.map(lambda c: boost(last, c, self.seed), tried), len(tried))
            best = int(np.argmin([error for _, error in found]))
            self.settings, self.error = tried[best], found[best][1]
            at_last = found[best][0]
            jobs = [(h, seed) for h in horizons for seed in seeds]
            jobs.remove((last, self.seed))  # the search has made it
            fits = shown(
                pool.map(lambda job: boost(job[0], self.settings, job[1])[0], jobs), len(jobs)
            )
        made = list(zip(jobs, fits, strict=True))
        self.models = [[model for (at, _), model in made if at == h] for h in horizons]
        self.models[-1].insert(0, at_last)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Means over the seeds, (N, H)."""
        return np.column_stack(
            [np.mean([m.predict(X, num_threads=1) for m in models], 0) for models in self.models]
        )

    def save(self, folder: Path, name: str) -> None:
        """Write every booster as text: `name.<horizon>.<seed>.txt`."""
        for h, models in enumerate(self.models):
            for s, model in enumerate(models):
                (folder / f"{name}.{h}.{s}.txt").write_text(model.model_to_string())

    @classmethod
    def load(cls, folder: Path, name: str, horizons: int) -> "Boosting | None":
        """What `save` wrote; None where it wrote nothing."""
        import lightgbm as lgb

        files = [
            sorted(folder.glob(f"{name}.{h}.*.txt"), key=lambda p: int(p.name.split(".")[-2]))
            for h in range(horizons)
        ]
        if not any(files):
            return None
        if not all(files):
            raise InputError(f"{folder}: boosters of some horizons are missing: copy it anew")
        new = cls(0, len(files[0]))
        new.models = [[lgb.Booster(model_str=f.read_text()) for f in each] for each in files]
        return new


class _Binned:
    """Training and validation rows of one horizon, their covariates in bins."""

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        X_val: np.ndarray,
        y_val: np.ndarray | None,
        weight: np.ndarray | None,
    ) -> None:
        import lightgbm as lgb

        # a share of one row is none, and LightGBM stops
        self.fixed = FIXED | {"bagging_freq": int(len(y) > 1)}
        self.train = lgb.Dataset(X, y, weight=weight, params=BINS).construct()
        self.validation = None
        if y_val is not None:
            self.validation = lgb.Dataset(X_val, y_val, reference=self.train, params=BINS)
            self.validation.construct()

    def boost(self, settings: Mapping[str, Any], seed: int) -> tuple[Any, float]:
        """One booster and its squared error on validation (NaN where there is none)."""
        import lightgbm as lgb

        parameters = self.fixed | {**settings} | {"seed": seed}
        if self.validation is None:
            return lgb.train(parameters, self.train, MAX_ROUNDS // 4), float("nan")
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        booster = lgb.train(parameters, self.train, MAX_ROUNDS, [self.validation], callbacks=[stop])
        return booster, float(booster.best_score["valid_0"]["l2"])
