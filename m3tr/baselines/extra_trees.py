"""The row `extra trees CF`: extremely randomised trees, which M3TR has beside its boosted ones."""

import numpy as np

from m3tr.baselines.base import Baseline, Data, Label
from m3tr.forest import Forest

TREES = 100


class ExtraTrees(Baseline):
    """Extremely randomised trees on all covariates, without a search (`m3tr.forest.Forest`).

    Parameters
    ----------
    n_jobs : int
        Threads.
    seed : int
    """

    from_increment = True
    name = "extra trees CF"
    information = "CF"

    def __init__(self, n_jobs: int = 2, seed: int = 0) -> None:
        self.n_jobs, self.seed = n_jobs, seed

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        X, y = train.covariates("CF"), train.y(label)
        self.forest = Forest().fit(X, y, TREES, self.seed, self.n_jobs)

    def _predict(self, data: Data) -> np.ndarray:
        return self.forest.predict(data.covariates("CF"))
