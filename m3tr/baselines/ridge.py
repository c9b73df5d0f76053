"""The row `ridge`: linear in the log increments of all kinds."""

import numpy as np

from m3tr.baselines.base import Baseline, Data, Label

PENALTIES = np.geomspace(1e-2, 1e5, 15)


class Ridge(Baseline):
    """Ridge regression on standardised feedback covariates.

    The covariates are log increments per kind and bin with their totals. The penalty is chosen by
    leave-one-out error on the training split, for each horizon on its own.
    """

    name = "ridge"
    information = "F"

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        from sklearn.linear_model import RidgeCV

        X = train.covariates("F")
        self.centre = X.mean(0)
        spread = X.std(0)
        # a constant column carries nothing: scale 0 removes it, in later splits too
        self.scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-9)
        self.model = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
        self.model.fit(self._standardised(train), train.y(label))

    def _predict(self, data: Data) -> np.ndarray:
        return self.model.predict(self._standardised(data)).reshape(len(data), -1)

    def _standardised(self, data: Data) -> np.ndarray:
        # a value far outside training would be multiplied by its slope: winsorise it
        return np.clip((data.covariates("F") - self.centre) * self.scale, -6.0, 6.0)
