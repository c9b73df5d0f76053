"""The row `Hawkes`: a univariate exponential Hawkes process of the target kind.

Immigration is each video's own, the branching ratio n and the decay beta are shared by all:

    lambda_i(t) = mu_i + n beta sum_{t_j < t} c_j exp(-beta (t - t_j))

A row of count c stands for c simultaneous events. The first row of a video is a given ancestor: in
a counter series it is all that came before. For a given beta the likelihood of what follows, up to
a, is concave in (mu, n) and maximised by expectation-maximisation; beta is sought on a grid, then
between its points. A new video's mu_i is its own maximum given (n, beta). The expected count in
(a, H] is closed-form (docs/model.md section 6). As a size it is far off, because immigration does
not stay what it was in the window: the row prints a log-log line from it, fitted on the training
split.
"""

import numpy as np
import polars as pl
from numba import njit
from scipy.optimize import minimize_scalar

from m3tr.baselines.base import Baseline, Data, Label, Line

# decay rates per day: memory of 1.4 minutes to two months
DECAYS = np.geomspace(1 / 60, 1000.0, 16)
MAX_BRANCHING = 0.999
STEPS = 100

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@njit(cache=True)
def _memory(sequence, time, count, beta):  # type: ignore[no-untyped-def]
    """sum_{t_j < t_i} c_j exp(-beta (t_i - t_j)) at each row i, left limit; rows sorted."""
    n = len(time)
    out = np.zeros(n)
    state, pending, now = 0.0, 0.0, 0.0
    for i in range(n):
        if i == 0 or sequence[i] != sequence[i - 1]:
            state, pending, now = 0.0, 0.0, time[i]
        elif time[i] > now:
            # rows that share a time do not excite one another
            state = (state + pending) * np.exp(-beta * (time[i] - now))
            pending, now = 0.0, time[i]
        out[i] = state
        pending += count[i]
    return out


@njit(cache=True)
def _step(sequence, count, memory, mu, branching):  # type: ignore[no-untyped-def]
    """Expected immigrants of each sequence and expected offspring of all; log-likelihood's sum."""
    immigrants = np.zeros(len(mu))
    offspring, value = 0.0, 0.0
    for i in range(len(count)):
        excited = branching * memory[i]
        rate = mu[sequence[i]] + excited
        if rate > 0.0:
            immigrants[sequence[i]] += count[i] * mu[sequence[i]] / rate
            offspring += count[i] * excited / rate
            value += count[i] * np.log(rate)
    return immigrants, offspring, value


class Hawkes(Baseline):
    """Exponential Hawkes process, closed-form expectation, calibrated log-log line.

    Attributes
    ----------
    branching, beta : float
        Branching ratio and decay rate (1/day), after `fit`.
    """

    name = "Hawkes"
    information = "F"

    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        self.label = label
        rows, age = _rows(train), train.age_days
        grid = np.log(DECAYS)
        best = int(np.argmax([_maximum(rows, age, beta)[0] for beta in DECAYS]))
        between = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found = minimize_scalar(
            lambda log_beta: -_maximum(rows, age, np.exp(log_beta))[0],
            bounds=between,
            method="bounded",
            options={"xatol": 0.02},
        )
        self.beta = float(np.exp(found.x))
        self.branching = _maximum(rows, age, self.beta)[1]
        self.line = Line().fit(self.raw(train), train.y(label))

    def _predict(self, data: Data) -> np.ndarray:
        return self.line(self.raw(data))

    def raw(self, data: Data) -> np.ndarray:
        """Uncalibrated forecast of the fitted label in log2 units, (N, H)."""
        expected = self.expected(data)
        if self.label == "total":
            expected = expected + data.examples["observed"].to_numpy()[:, None]
        return np.log2(1.0 + expected)

    def expected(self, data: Data) -> np.ndarray:
        """Expected target count in (a, H], (N, H)."""
        rows, age = _rows(data), data.age_days
        sequence, time, count = rows
        _, _, mu = _maximum(rows, age, self.beta, self.branching)
        left = np.exp(-self.beta * np.maximum(age[sequence] - time, 0.0)) * count
        state = np.bincount(sequence, left, minlength=len(data))
        rate = (mu + self.branching * self.beta * state)[:, None]  # lambda(a+)
        level = (mu / (1.0 - self.branching))[:, None]
        k = self.beta * (1.0 - self.branching)
        lead = data.horizon_days - age[:, None]
        return level * lead - (rate - level) * np.expm1(-k * lead) / k


def _maximum(
    rows: Rows, age: np.ndarray, beta: float, branching: float | None = None
) -> tuple[float, float, np.ndarray]:
    """Log-likelihood, branching ratio and mu (N,) of the maximum; `branching` fixed where given."""
    sequence, time, count = rows
    memory = beta * _memory(sequence, time, count, beta)
    first = np.diff(sequence, prepend=-1) > 0
    begin = np.zeros(len(age))
    begin[sequence[first]] = time[first]
    exposure = np.maximum(age - begin, 1e-9)
    count_after = np.where(first, 0.0, count)
    seen = np.bincount(sequence, count_after, minlength=len(age))
    parents = -np.expm1(-beta * np.maximum(age[sequence] - time, 0.0)) @ count
    mu, n = 0.5 * seen / exposure, 0.5 if branching is None else branching
    for _ in range(STEPS):
        immigrants, offspring, _ = _step(sequence, count_after, memory, mu, n)
        mu = immigrants / exposure
        if branching is None and parents > 0:
            n = min(offspring / parents, MAX_BRANCHING)
    _, _, value = _step(sequence, count_after, memory, mu, n)
    return value - mu @ exposure - n * parents, n, mu


def _rows(data: Data) -> Rows:
    """Observed target rows as (index of the example, age in days, count), sorted by both."""
    ids = data.examples.select("video_id").with_row_index("i")
    rows = data.observed.filter(pl.col("kind") == data.target).join(ids, on="video_id")
    rows = rows.sort("i", "age_days")
    return (
        rows["i"].to_numpy().astype(np.int64),
        rows["age_days"].to_numpy().astype(np.float64),
        rows["count"].to_numpy().astype(np.float64),
    )
