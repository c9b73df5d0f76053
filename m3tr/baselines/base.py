"""What every baseline is given and what it has to give back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl

from m3tr.errors import InputError

Label = Literal["increment", "total"]
Information = Literal["C", "F", "CF"]
LABELS: tuple[Label, Label] = ("increment", "total")


@dataclass(frozen=True)
class Data:
    """One split as the baselines see it; all parts are aligned with the rows of `examples`.

    Attributes
    ----------
    examples : DataFrame
        N rows: video_id, age_days, observed, horizon_days, increment, total, ...
    videos : DataFrame
        The N videos' own rows, in the order of `examples`.
    observed : DataFrame
        Feedback up to each clock: video_id, time, kind, count, age_days (`windows.observed`).
    X_feedback : ndarray (N, Df)
        Feedback covariates, log2 counts and days.
    X_content : ndarray (N, Dc)
        Content covariates.
    kinds : list of str
        All feedback kinds.
    target : str
        The kind that is forecast.
    kept_whole : str
        Column of the videos table whose groups no fold may cut.
    """

    examples: pl.DataFrame
    videos: pl.DataFrame
    observed: pl.DataFrame
    X_feedback: np.ndarray
    X_content: np.ndarray
    kinds: list[str]
    target: str
    kept_whole: str = "creator_id"

    def __len__(self) -> int:
        return self.examples.height

    @property
    def horizon_days(self) -> np.ndarray:
        """Ages of the horizons in days, (N, H)."""
        return _matrix(self.examples["horizon_days"])

    @property
    def age_days(self) -> np.ndarray:
        """Observation ages in days, (N,)."""
        return self.examples["age_days"].to_numpy()

    @property
    def log_observed(self) -> np.ndarray:
        """log2(1 + target count in (0, a]), (N,)."""
        return np.log2(1.0 + self.examples["observed"].to_numpy())

    def y(self, label: Label) -> np.ndarray:
        """The label per horizon in log2 units, (N, H); see docs/model.md section 1."""
        return _matrix(self.examples[label])

    def covariates(self, information: Information) -> np.ndarray:
        """The covariates of an information set, (N, D)."""
        parts = {"C": self.X_content, "F": self.X_feedback}
        return np.column_stack([parts[letter] for letter in information])


class Baseline(ABC):
    """A row of the results table that is no M3TR; docs/evaluation.md says how each is made.

    A subclass has a `name` and an `information` set, fills `_fit` and `_predict`, and reads no
    part of `Data` that its information set does not grant.

    Attributes
    ----------
    from_increment : bool
        The row fits the increment only; its total is `log2(N(0, a] + 2^increment)`, exact in what
        was observed, as that of M3TR is. Not for rows of the information set C: they may not
        know `N(0, a]`.
    """

    name: str
    information: Information
    from_increment: ClassVar[bool] = False
    _fitted: tuple[Data, Data, Label] | None = None

    def fit(self, train: Data, validation: Data, label: Label) -> Self:
        """Fit to `train`; `validation` is for choices such as early stopping only.

        A row that is fitted to the same data and label already stays as it is.

        Raises
        ------
        InputError
            Where the training split is empty.
        """
        if len(train) == 0:
            raise InputError(
                f"examples: no training example for the baseline '{self.name}'; "
                "widen the training period of the split in params.yaml."
            )
        self._label = label
        learned = "increment" if self._derived() else label
        if self._fitted is None or not (
            self._fitted[0] is train
            and self._fitted[1] is validation
            and self._fitted[2] == learned
        ):
            self._fit(train, validation, learned)
            self._fitted = train, validation, learned
        return self

    def predict(self, data: Data) -> np.ndarray:
        """Forecast of the fitted label in log2 units, (N, H); no count is below 0."""
        y_hat = np.maximum(self._predict(data), 0.0)
        if self._label == "total" and self._derived():
            return np.log2(data.examples["observed"].to_numpy()[:, None] + np.exp2(y_hat))
        return y_hat

    def _derived(self) -> bool:
        return self.from_increment and "F" in self.information

    @abstractmethod
    def _fit(self, train: Data, validation: Data, label: Label) -> None:
        """Learn to forecast `label`; `validation` may be empty."""

    @abstractmethod
    def _predict(self, data: Data) -> np.ndarray:
        """Forecast of the label that `_fit` learned, (N, H)."""


class Line:
    """Least-squares line `y_h = c_h + s_h x` for each horizon h."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Line":
        """Fit to `x` (N,) or (N, H) and `y` (N, H); where `x` is constant the slope is 0."""
        x = np.broadcast_to(x[:, None], y.shape) if x.ndim == 1 else x
        centred = x - x.mean(0)
        spread = (centred**2).sum(0)
        safe = np.where(spread > 1e-12, spread, np.inf)
        self.slope = (centred * (y - y.mean(0))).sum(0) / safe
        self.constant = y.mean(0) - self.slope * x.mean(0)
        return self

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values of the lines at `x`, (N, H)."""
        return self.constant + self.slope * (x[:, None] if x.ndim == 1 else x)


def _matrix(lists: pl.Series) -> np.ndarray:
    """A column of equally long lists as (N, H) float64."""
    n = len(lists)
    if n == 0:
        return np.zeros((0, 0))
    return lists.explode().to_numpy().astype(np.float64).reshape(n, -1)
