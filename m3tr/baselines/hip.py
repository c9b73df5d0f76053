"""The row `HIP`: a Hawkes intensity process of the target kind (`m3tr.baselines.hip_process`).

Simplified against the publication, because few steps are observed of a video:

- kernel and mu are shared by all videos, and fitted to at most `SAMPLE` training videos; each
  video, also a new one, has its own gamma and eta, from its window;
- the step is a day, or an eighth of the median age where that is below two days; steps end at the
  clock;
- the first reading stands for all that came before, and errors are weighted by 1 / (1 + count),
  each video by its total, so that the largest do not decide alone;
- a fit to the windows knows nothing of the memory beyond them. It is only the start: kernel and mu
  are those whose forecasts, calibrated, err least on the training labels of all horizons;
- the promotion series is another feedback kind, or none: whichever forecasts validation best. After
  the clock there is no promotion: what comes is not known.

As in the row Hawkes, a log-log line turns the expected count in (a, H] into the label.
"""

import numpy as np
import polars as pl

from m3tr.baselines.base import Baseline, Data, Label, Line
from m3tr.baselines.hip_process import HIP, Windows, expected_after, fit, search

DAY = 1.0
STEPS_OF_AGE = 8
MAX_COLUMNS = 64  # steps before the clock that are told apart
MAX_AGE = 256  # steps: an older video counts as one of this age
MAX_LEAD = 1024  # steps up to the last horizon: a longer lead gets longer steps
SAMPLE = 1000
EVALUATIONS = 150  # of a loss, from each start


class HawkesIntensity(Baseline):
    """Hawkes intensity process with shared kernel, calibrated by a log-log line.

    Attributes
    ----------
    process : HIP
        Kernel (in steps) and mu, after `fit`.
    step : float
        Length of a step, days.
    promotion : str or None
        Kind of the promotion series.
    """

    name = "HIP"
    information = "F"
    from_increment = True

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        lead = float((train.horizon_days - train.age_days[:, None]).max())
        age = float(np.median(train.age_days))
        self.step = max(DAY if age >= 2 * DAY else age / STEPS_OF_AGE, lead / MAX_LEAD)
        kinds = (None, *train.kinds[1:]) if len(validation) else (None,)
        best, chosen = np.inf, None
        for kind in kinds:
            self.promotion = kind
            self.process, self.line = self._fitted_with(train, label)
            error = 0.0
            if len(validation):
                gap = self._predict(validation) - validation.y(label)
                error = float(np.mean(gap[:, -1] ** 2))
            if chosen is None or error < best:
                best, chosen = error, (kind, self.process, self.line)
        assert chosen is not None  # there is always the kind None
        self.promotion, self.process, self.line = chosen

    def _fitted_with(self, train: Data, label: Label) -> tuple[HIP, Line]:
        """Process and line under the promotion series set."""
        y, windows = train.y(label), self.windows(train)
        lead = self._lead(train)
        some = np.random.default_rng(0).permutation(len(train))[:SAMPLE]
        y_some, few, lead_some = y[some], windows.select(some), lead[some]
        spread = np.maximum(y_some.var(0), 1e-12)

        def loss(process: HIP) -> float:
            x = np.log2(1.0 + expected_after(process, few, lead_some))
            return float((((Line().fit(x, y_some)(x) - y_some) ** 2).mean(0) / spread).sum())

        promoted = few.promotion.sum()
        ratio = float(few.count.sum() / promoted) if promoted else 0.0
        process = search(loss, ratio, EVALUATIONS, fit(few, EVALUATIONS))
        return process, Line().fit(np.log2(1.0 + expected_after(process, windows, lead)), y)

    def _predict(self, data: Data) -> np.ndarray:
        return self.line(self.raw(data))

    def raw(self, data: Data) -> np.ndarray:
        """log2(1 + expected count in (a, H]) before calibration, (N, H)."""
        return np.log2(1.0 + expected_after(self.process, self.windows(data), self._lead(data)))

    def _lead(self, data: Data) -> np.ndarray:
        """Steps from the clock to each horizon, (N, H)."""
        return (data.horizon_days - data.age_days[:, None]) / self.step

    def windows(self, data: Data) -> Windows:
        """What was observed, in steps."""
        n = len(data)
        i, back, count = self._steps(data, data.target)
        steps = np.maximum(np.ceil(data.age_days / self.step - 1e-6).astype(np.int64), 1)
        np.maximum.at(steps, i, back + 1)
        steps = np.minimum(steps, MAX_AGE)
        width = int(min(steps.max(initial=1), MAX_COLUMNS))
        counts, first = np.zeros((n, width)), np.maximum(width - steps, 0)
        column = np.maximum(width - 1 - back, 0)
        np.add.at(counts, (i, column), count)
        earliest = np.full(n, width)
        np.minimum.at(earliest, i, column)
        # without any reading nothing was seen in the whole window
        first = np.where(earliest < width, earliest, first)
        promotion = np.zeros((n, width))
        if self.promotion is not None:
            i, back, count = self._steps(data, self.promotion)
            np.add.at(promotion, (i, np.maximum(width - 1 - back, 0)), count)
        weight = 1.0 / (1.0 + counts) / (1.0 + counts.sum(1, keepdims=True))
        return Windows(counts, promotion, steps, first, weight)

    def _steps(self, data: Data, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observed rows of a kind: place of the video, whole steps before the clock, count."""
        ids = data.examples.select("video_id", end="age_days").with_row_index("i")
        rows = data.observed.filter(pl.col("kind") == kind).join(ids, on="video_id")
        lag = (rows["end"] - rows["age_days"]).to_numpy() / self.step
        back = np.maximum(np.floor(lag + 1e-6), 0.0).astype(np.int64)
        return rows["i"].to_numpy().astype(np.int64), back, rows["count"].to_numpy().astype(float)
