"""The row `mean`: the training mean of the label. Its nMSE is about 1 by construction."""

import numpy as np

from m3tr.baselines.base import Baseline, Data, Label


class Mean(Baseline):
    """Training mean per horizon, whatever the video."""

    name = "mean"
    information = "C"

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        self.value = train.y(label).mean(0)

    def _predict(self, data: Data) -> np.ndarray:
        return np.tile(self.value, (len(data), 1))
