"""The rows `ridge` and `ridge CF`: linear in the log increments, and in the content as well."""

import numpy as np

from m3tr.baselines.base import Baseline, Data, Information, Label
from m3tr.data.ridge import BaseForecast


class Ridge(Baseline):
    """Ridge regression on standardised covariates, winsorised at four standard deviations.

    The covariates are log increments per kind and bin with their totals (F), and those of the
    content where they are read too (CF). The penalty is chosen by leave-one-out error on the
    training split, for each horizon on its own.

    Parameters
    ----------
    information : {"F", "CF"}
        Which covariates are read.
    """

    from_increment = True

    def __init__(self, information: Information = "F") -> None:
        self.name = "ridge" if information == "F" else f"ridge {information}"
        self.information = information

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        self.model = BaseForecast().fit(train.covariates(self.information), train.y(label))

    def _predict(self, data: Data) -> np.ndarray:
        return self.model.predict(data.covariates(self.information))
