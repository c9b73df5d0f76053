"""The boosted head: gradient boosting on M3TR's representation, averaged with the network."""

import numpy as np


class BoostedHead:
    """LightGBM per horizon on the residual of the base forecast.

    It sees what the network sees, as numbers: covariates, X_s, base forecast and the neighbours'
    label summary.
    """

    def __init__(self, models: list[str]) -> None:
        self.models = models
        self._boosters: list | None = None

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        residual: np.ndarray,
        X_validation: np.ndarray,
        residual_validation: np.ndarray,
        seed: int,
    ) -> "BoostedHead":
        """Fit on X (N, D) and residuals (N, H); the number of trees is chosen on validation."""
        import lightgbm

        parameters = {
            "objective": "regression",
            "learning_rate": 0.03,
            "num_leaves": 15,
            "min_data_in_leaf": 20,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "deterministic": True,
            "force_row_wise": True,
            "seed": seed,
            "verbosity": -1,
        }
        models = []
        for h in range(residual.shape[1]):
            data = lightgbm.Dataset(X, residual[:, h])
            held = lightgbm.Dataset(X_validation, residual_validation[:, h], reference=data)
            stop = lightgbm.early_stopping(50, verbose=False)
            booster = lightgbm.train(parameters, data, 800, [held], callbacks=[stop])
            models.append(booster.model_to_string(num_iteration=booster.best_iteration))
        return cls(models)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Residuals (N, H), log2 units."""
        import lightgbm

        if self._boosters is None:
            self._boosters = [lightgbm.Booster(model_str=text) for text in self.models]
        return np.column_stack([b.predict(X) for b in self._boosters])
