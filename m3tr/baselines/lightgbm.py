"""The LightGBM rows: tuned gradient-boosted trees, the baselines to beat.

`LightGBM C`, `F` and `CF` learn the label, `LightGBM CF residual` what a ridge regression leaves
over, and `LightGBM average` is the mean of the last two forecasts.
"""

import numpy as np

from m3tr.baselines.base import Baseline, Data, Information, Label
from m3tr.boosting import Boosting
from m3tr.data.ridge import BaseForecast, fold_groups, out_of_fold


class LightGBM(Baseline):
    """Boosted trees on one information set.

    Parameters
    ----------
    information : {"C", "F", "CF"}
        Which covariates are read.
    tuning, seeds, n_jobs, seed : int
        See `Boosting`.
    """

    from_increment = True

    def __init__(
        self,
        information: Information,
        tuning: int = 8,
        seeds: int = 5,
        n_jobs: int = 2,
        seed: int = 0,
    ) -> None:
        self.name = f"LightGBM {information}"
        self.information = information
        self.boosting = Boosting(tuning, seeds, n_jobs, seed)

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        X, X_val = train.covariates(self.information), validation.covariates(self.information)
        self.boosting.fit(X, train.y(label), X_val, validation.y(label))

    def _predict(self, data: Data) -> np.ndarray:
        return self.boosting.predict(data.covariates(self.information))


class LightGBMResidual(LightGBM):
    """Boosted trees on the residual of a ridge regression, whose forecasts they also read.

    Training residuals are out of fold, whole groups held out (docs/model.md, section 5): those
    of an in-sample fit would be smaller than the ones met on new videos.
    """

    def __init__(
        self,
        information: Information = "CF",
        tuning: int = 8,
        seeds: int = 5,
        n_jobs: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(information, tuning, seeds, n_jobs, seed)
        self.name = f"LightGBM {information} residual"

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        X, y = train.covariates(self.information), train.y(label)
        held_out = out_of_fold(
            X, y, fold_groups(train.videos, train.kept_whole), self.boosting.seed
        )
        self.base = BaseForecast().fit(X, y)
        X_val, base_val = self._inputs(validation)
        residual_val = validation.y(label) - base_val if len(validation) else base_val
        self.boosting.fit(np.hstack([X, held_out]), y - held_out, X_val, residual_val)

    def _predict(self, data: Data) -> np.ndarray:
        X, base = self._inputs(data)
        return base + self.boosting.predict(X)

    def _inputs(self, data: Data) -> tuple[np.ndarray, np.ndarray]:
        """Covariates with the ridge forecasts beside them, and these forecasts (N, H)."""
        X = data.covariates(self.information)
        base = self.base.predict(X)
        return np.hstack([X, base]), base


class LightGBMAverage(Baseline):
    """Mean of the forecasts of two rows; they are fitted only where they are not yet.

    Parameters
    ----------
    raw, residual : LightGBM
        Rows of one information set.
    """

    name = "LightGBM average"
    from_increment = True

    def __init__(self, raw: LightGBM, residual: LightGBM) -> None:
        self.rows = raw, residual
        self.information = raw.information

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        for row in self.rows:
            row.fit(train, validation, label)

    def _predict(self, data: Data) -> np.ndarray:
        return np.mean([row._predict(data) for row in self.rows], axis=0)
