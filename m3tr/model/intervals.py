"""Predictive distributions around the point forecast: a scale learned, then conformal scores."""

from collections.abc import Mapping

import numpy as np

from m3tr.data.ridge import BaseForecast
from m3tr.errors import InputError
from m3tr.model.arrays import arrays_of, joined
from m3tr.quantiles import LEVELS, central, conformal

KNOTS = (0.02, 0.2, 0.4, 0.6, 0.8, 0.98)  # of the training forecasts; between them it is linear
FLOOR = 0.2  # of the scale, below every error: what hit by chance is no certainty
LEAST = 0.01  # of the mean error, below every scale
ROUNDS = 3  # one floor for all flattens the scale; from the second round on it follows the scale
SMALLEST = 1e-6  # log2 units
BOUNDS = (0.001, 0.999)  # shares of the training scales that a new one may not leave
PRIOR = 50  # scores of training that stand beside those of validation
SURE = 20  # validation videos from which their own level of error weighs more than training's
NAMES = (
    "coverage", "knots", "bounds", "scores",
    "scale.mean", "scale.scale", "scale.coef", "scale.intercept",
)  # fmt: skip


class Intervals:
    """Quantiles `forecast + scale(x) * score`, by horizon (docs/model.md, section 5).

    The scale is a ridge regression of the log absolute out-of-fold residuals of training on all
    that the forecast is made of, and on a linear spline in the forecasts. The scores are validation
    errors over their scales: their order statistics are split-conformal, with both tails as they
    are. `arrays` holds all of it.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def fit(
        self,
        train: tuple[np.ndarray, np.ndarray, np.ndarray],
        validation: tuple[np.ndarray, np.ndarray, np.ndarray],
        coverage: float,
    ) -> "Intervals":
        """Learn the scale and calibrate it.

        Parameters
        ----------
        train : X (N, D), forecasts (N, H), errors (N, H)
            Out of fold; an error is outcome minus forecast, log2 units.
        validation : X (n, D), forecasts (n, H), errors (n, H)
            Of the model whose intervals these are.
        coverage : float
            Nominal coverage of `interval`.

        Raises
        ------
        InputError
            Where forecasts or errors are not finite.
        """
        for name, (X, forecast, errors) in (("training", train), ("validation", validation)):
            if not (np.isfinite(X).all() and np.isfinite(forecast + errors).all()):
                raise InputError(
                    f"params.yaml: forecasts of the {name} split are not finite, so no interval "
                    "can be given: lower train.learning_rate"
                )
        X, forecast, errors = train
        size = np.abs(errors)
        self.arrays = {
            "coverage": np.array([coverage]),
            "knots": np.quantile(forecast, KNOTS, axis=0),
        }
        design, least = self._design(X, forecast), np.maximum(LEAST * size.mean(0), SMALLEST)
        floor = np.maximum(FLOOR * size.mean(0), least)
        for _ in range(ROUNDS):
            scale = BaseForecast().fit(design, np.log(size + floor))
            logarithm = scale.predict(design)
            typical = np.exp(logarithm - logarithm.mean(0)) * size.mean(0)
            floor = np.maximum(FLOOR * typical, least)
        self.arrays |= joined({"scale.": scale.arrays})
        self.arrays["bounds"] = np.quantile(logarithm, BOUNDS, axis=0)
        old = errors / self.scale(X, forecast)
        X, forecast, errors = validation
        self.arrays["scores"] = self._pooled(old, errors / self.scale(X, forecast))
        return self

    def scale(self, X: np.ndarray, forecast: np.ndarray) -> np.ndarray:
        """Typical size of an error of forecasts (N, H) from inputs X (N, D), log2 units, (N, H)."""
        scale = BaseForecast.from_arrays(arrays_of(self.arrays, "scale."))
        logarithm = scale.predict(self._design(X, forecast))
        return np.exp(np.clip(logarithm, *self.arrays["bounds"]))

    def quantiles(
        self, X: np.ndarray, forecast: np.ndarray, levels: np.ndarray = LEVELS
    ) -> np.ndarray:
        """Quantiles of the increment, (N, H, Q), log2 units: none below 0, none cross."""
        scores = conformal(self.arrays["scores"], levels)
        spread = self.scale(X, forecast)[:, :, None] * scores
        return np.maximum(forecast[:, :, None] + spread, 0.0)

    def interval(self, X: np.ndarray, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both ends, each (N, H), of the interval of nominal coverage; the forecast is in it."""
        ends = self.quantiles(X, forecast, central(self.coverage))
        return np.minimum(ends[:, :, 0], forecast), np.maximum(ends[:, :, 1], forecast)

    @property
    def coverage(self) -> float:
        """Nominal coverage of `interval`."""
        return float(self.arrays["coverage"][0])

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Intervals":
        """Fitted intervals from their `arrays`; KeyError where one is missing."""
        new = cls()
        new.arrays = {name: arrays[name] for name in NAMES}
        return new

    def _design(self, X: np.ndarray, forecast: np.ndarray) -> np.ndarray:
        """Inputs beside a linear spline in each forecast, constant outside the outer knots."""
        knots = self.arrays["knots"]
        inside = np.clip(forecast, knots[0], knots[-1])
        return np.hstack([X, inside, *(np.maximum(inside - knot, 0) for knot in knots[1:-1])])

    @staticmethod
    def _pooled(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Scores of validation (n, H) with `PRIOR` of training's (N, H), brought to their size.

        A handful of validation videos says little about tails, training says it of the base
        forecast; by a few hundred videos these few no longer count.
        """
        before, after = (np.maximum(np.median(np.abs(s), 0), SMALLEST) for s in (old, new))
        trust = len(new) / (len(new) + SURE)
        prior = np.quantile(old, (np.arange(PRIOR) + 0.5) / PRIOR, axis=0)
        return np.sort(np.vstack([new, prior * (after / before) ** trust]), axis=0)
