"""The base forecast: ridge regression per horizon, on whose residual others work."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from m3tr.data.splits import groups_of

FOLDS = 5
CLIP = 4.0  # standard deviations: a far outlier must not drag a linear forecast with it
ALPHAS = np.logspace(-1, 5, 19)


class BaseForecast:
    """Ridge on standardised, clipped covariates; penalty by leave-one-out error."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def fit(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> "BaseForecast":
        """Fit on covariates X (N, D), labels y (N, H) and weights (N,) of the rows.

        The penalty is chosen on the rows of most weight, of which each is a video: others are these
        videos once more, and to leave out one of several leaves nothing out. One video alone gives
        its own label.
        """
        from sklearn.linear_model import Ridge, RidgeCV

        scale = X.std(0)
        self.arrays = {"mean": X.mean(0), "scale": np.where(scale > 1e-8, scale, 1.0)}
        if len(X) == 1:  # nothing to leave out
            self.arrays |= {"coef": np.zeros((y.shape[1], X.shape[1])), "intercept": y[0]}
            return self
        Z = self.standardise(X)
        weight = np.ones(len(Z)) if weight is None else weight
        own = weight == weight.max()
        fits = [RidgeCV(ALPHAS).fit(Z[own], column[own]) for column in y.T]
        if not own.all():
            more = weight.sum() / weight[own].sum()
            fits = [
                Ridge(fit.alpha_ * more).fit(Z, column, weight)
                for fit, column in zip(fits, y.T, strict=True)
            ]
        self.arrays["coef"] = np.stack([f.coef_ for f in fits])
        self.arrays["intercept"] = np.array([f.intercept_ for f in fits])
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Forecasts (N, H) in log2 units."""
        return self.standardise(X) @ self.arrays["coef"].T + self.arrays["intercept"]

    def standardise(self, X: np.ndarray) -> np.ndarray:
        """The covariates (N, D) by their training mean and scale, clipped at `CLIP`."""
        return np.clip((X - self.arrays["mean"]) / self.arrays["scale"], -CLIP, CLIP)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "BaseForecast":
        """A fitted forecast from its `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new


def out_of_fold(
    X: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """Base forecasts (N, H) of each row by a fit that saw neither it nor its group.

    The residuals of these forecasts are what heads learn and what the bank remembers: those
    of an in-sample fit would be smaller than the ones met on new videos.
    """
    from sklearn.model_selection import GroupKFold

    if len(np.unique(groups)) == 1:
        return BaseForecast().fit(X, y, weight).predict(X)
    folds = min(FOLDS, len(np.unique(groups)))
    forecast = np.empty_like(y)
    for fit, held in GroupKFold(folds, shuffle=True, random_state=seed).split(X, y, groups):
        own = None if weight is None else weight[fit]
        forecast[held] = BaseForecast().fit(X[fit], y[fit], own).predict(X[held])
    return forecast


def fold_groups(videos: pl.DataFrame, column: str = "creator_id") -> np.ndarray:
    """What no fold may cut, (N,): groups of the column, but where all are of one, the creators."""
    for name in (column, "creator_id"):
        groups = groups_of(videos, name)
        if len(np.unique(groups)) > 1:
            return groups
    return groups_of(videos, "video_id")
