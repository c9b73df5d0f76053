"""The row `Szabo-Huberman`: log-linear growth with unit slope (Szabo and Huberman, 2010).

    log N(0, H] = log N(0, a] + c_h

The constant of a horizon is the least-squares one on the log, their first estimator (the other
minimises the relative squared error). The law makes the increment proportional to the count so far
as well, `N(a, H] = N(0, a] (exp(c_h) - 1)`, so that it has the same form; there the constant is
fitted to the increment itself, whose error it is then least for.
"""

import numpy as np

from m3tr.baselines.base import Baseline, Data, Label


class SzaboHuberman(Baseline):
    """Unit-slope line in log2(1 + target count so far), one constant a horizon and label."""

    name = "Szabo-Huberman"
    information = "F"

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        self.growth = (train.y(label) - train.log_observed[:, None]).mean(0)

    def _predict(self, data: Data) -> np.ndarray:
        return data.log_observed[:, None] + self.growth
