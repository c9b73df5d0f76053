"""The boosted heads: gradient boosting on M3TR's representation, beside the network."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

SEEDS = 3
ROUNDS, PATIENCE = 1000, 40
PARAMETERS = {
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "max_bin": 127,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
SQUARED = {"objective": "regression"}
HUBER = {"objective": "huber", "alpha": 1.0}  # log2 units from which the loss is linear


class BoostedHead:
    """LightGBM per horizon, some seeds averaged.

    Parameters
    ----------
    models : sequence of sequence of str
        By horizon, then seed: a booster as text.
    """

    def __init__(self, models: Sequence[Sequence[str]]) -> None:
        self.models = models
        self._boosters: list[list] | None = None

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        X_validation: np.ndarray,
        y_validation: np.ndarray,
        objective: Mapping[str, object],
        seed: int,
        weight: np.ndarray | None = None,
        jobs: int = 2,
    ) -> "BoostedHead":
        """Fit on X (N, D), y (N, H); the number of trees is chosen on validation.

        Parameters
        ----------
        objective : dict
            `SQUARED` or `HUBER`.
        weight : ndarray, shape (N,), optional
        jobs : int
            Boosters fitted at the same time, one thread each; the result does not depend on it.
        """
        import lightgbm

        def boost(h: int, seed: int) -> str:
            data = lightgbm.Dataset(X, y[:, h], weight=weight, params=PARAMETERS)
            held = lightgbm.Dataset(X_validation, y_validation[:, h], reference=data)
            stop = lightgbm.early_stopping(PATIENCE, verbose=False)
            settings = PARAMETERS | {**objective} | {"seed": seed, "metric": "l2"}
            booster = lightgbm.train(settings, data, ROUNDS, [held], callbacks=[stop])
            return booster.model_to_string(num_iteration=booster.best_iteration)

        each = list(product(range(y.shape[1]), range(seed, seed + SEEDS)))
        with ThreadPoolExecutor(jobs) as pool:
            fitted = list(pool.map(lambda job: boost(*job), each))
        return cls([fitted[i : i + SEEDS] for i in range(0, len(fitted), SEEDS)])

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Forecasts (N, H) of what was fitted, log2 units."""
        import lightgbm

        if self._boosters is None:
            self._boosters = [
                [lightgbm.Booster(model_str=text) for text in texts] for texts in self.models
            ]
        return np.column_stack([np.mean([b.predict(X) for b in bs], 0) for bs in self._boosters])

    def save(self, folder: Path, name: str) -> None:
        """Write every booster as text: `name.<horizon>.<seed>.txt`."""
        for h, texts in enumerate(self.models):
            for s, text in enumerate(texts):
                (folder / f"{name}.{h}.{s}.txt").write_text(text)

    @classmethod
    def load(cls, folder: Path, name: str, horizons: int) -> "BoostedHead | None":
        """What `save` wrote; None where it wrote nothing."""
        files = [
            sorted(folder.glob(f"{name}.{h}.*.txt"), key=lambda p: int(p.name.split(".")[2]))
            for h in range(horizons)
        ]
        return cls([[p.read_text() for p in each] for each in files]) if files[0] else None
