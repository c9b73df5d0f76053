"""The row `last count`: a log-log line from what was counted so far (Szabo and Huberman's form)."""

import numpy as np

from m3tr.baselines.base import Baseline, Data, Label, Line


class LastCount(Baseline):
    """Least-squares line from log2(1 + target count so far) to the label, one per horizon."""

    name = "last count"
    information = "F"

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        self.line = Line().fit(train.log_observed, train.y(label))

    def _predict(self, data: Data) -> np.ndarray:
        return self.line(data.log_observed)
