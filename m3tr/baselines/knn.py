"""The row `kNN`: nearest neighbours among the training videos' observed trajectories.

A trajectory is the vector of feedback covariates: log increments per kind and bin, their totals and
timing, standardised and clipped at four standard deviations. Columns that say nothing of the
outcome make all videos equally far apart, so a column may be weighted by a power of its ridge
coefficient. The power, the number of neighbours and whether they forecast their label or their
growth over what was counted so far (to which the query adds its own count) are chosen on the
validation split, for each horizon on its own.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from m3tr.baselines.base import Baseline, Data, Label
from m3tr.data.ridge import BaseForecast

NEIGHBOURS = (5, 10, 20, 40, 80)
POWERS = (0.0, 0.5, 1.0)
CHUNK = 256  # queries at a time: bounds the matrix of distances


@dataclass(frozen=True)
class Choice:
    """How one horizon is forecast: neighbours, power of the column weights, growth or label."""

    k: int = 20
    power: float = 0.0
    growth: bool = False


class NearestNeighbours(Baseline):
    """Kernel-weighted mean over the nearest training trajectories.

    Attributes
    ----------
    choices : list of Choice
        One a horizon, after `fit`.
    """

    name = "kNN"
    information = "F"
    from_increment = True

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        X, self.y = train.covariates("F"), train.y(label)
        self.ridge = BaseForecast().fit(X, self.y)
        self.Z, self.level = self.ridge.standardise(X), train.log_observed
        horizons = range(self.y.shape[1])
        y = validation.y(label)
        self.choices = [self._chosen(validation, y[:, h], h) if len(y) else Choice()
                        for h in horizons]  # fmt: skip

    def _predict(self, data: Data) -> np.ndarray:
        Z = self.ridge.standardise(data.covariates("F"))
        forecasts = []
        for h, choice in enumerate(self.choices):
            found = self._search(Z, h, choice.power, choice.k)
            forecasts.append(self._forecast(found, h, choice, data.log_observed))
        return np.column_stack(forecasts)

    def _chosen(self, validation: Data, y: np.ndarray, h: int) -> Choice:
        """The choice of least squared error on validation; the first of several."""
        Z = self.ridge.standardise(validation.covariates("F"))
        errors = {}
        for power in POWERS:
            found = self._search(Z, h, power, max(NEIGHBOURS))
            for k, growth in product(NEIGHBOURS, (False, True)):
                choice = Choice(k, power, growth)
                forecast = self._forecast(found, h, choice, validation.log_observed)
                errors[choice] = float(np.mean((forecast - y) ** 2))
        return min(errors, key=errors.__getitem__)

    def _search(self, Z: np.ndarray, h: int, power: float, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Places and squared distances of the k nearest training videos, each (N, k), by rank."""
        weight = np.abs(self.ridge.arrays["coef"][h]) ** power
        mine, theirs = Z * weight, self.Z * weight
        length = (theirs**2).sum(1)
        k = min(k, len(theirs))
        places, distances = np.empty((len(Z), k), np.int64), np.empty((len(Z), k))
        for start in range(0, len(Z), CHUNK):
            part = mine[start : start + CHUNK]
            squared = length - 2.0 * part @ theirs.T + (part**2).sum(1, keepdims=True)
            near = np.argpartition(squared, k - 1, axis=1)[:, :k]
            d = np.take_along_axis(squared, near, 1)
            rank = np.argsort(d, axis=1, kind="stable")
            places[start : start + CHUNK] = np.take_along_axis(near, rank, 1)
            distances[start : start + CHUNK] = np.take_along_axis(d, rank, 1)
        return places, np.maximum(distances, 0.0)

    def _forecast(
        self, found: tuple[np.ndarray, np.ndarray], h: int, choice: Choice, level: np.ndarray
    ) -> np.ndarray:
        """Weighted mean of what the neighbours say, (N,)."""
        near, squared = (part[:, : choice.k] for part in found)
        # a Gaussian kernel whose scale is the farthest neighbour used
        weight = np.exp(-2.0 * squared / np.maximum(squared[:, -1:], 1e-12))
        weight /= weight.sum(1, keepdims=True)
        said = self.y[near, h]
        if choice.growth:
            return ((said - self.level[near]) * weight).sum(1) + level
        return (said * weight).sum(1)
