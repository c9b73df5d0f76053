"""A boosted head: gradient boosting on those of M3TR's inputs that serve it best."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from m3tr.boosting import SQUARED, Boosting

RESIDUAL, LABEL = TARGETS = ("residual", "label")  # of the base forecast, and as it is
PROBES = 2  # settings that each choice of inputs is tried with


class Rows(NamedTuple):
    """Inputs X (N, D), targets y (N, H) and weights (N,)."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray


class BoostedHead:
    """Boosting on some columns of the inputs (docs/model.md, section 5).

    Attributes
    ----------
    boosting : Boosting
    columns : ndarray of int
        Which inputs it reads.
    """

    def __init__(self, boosting: Boosting, columns: np.ndarray) -> None:
        self.boosting, self.columns = boosting, columns

    @classmethod
    def fit(
        cls,
        choices: Sequence[tuple[Rows, np.ndarray]],
        validation: Rows,
        tuning: int,
        seeds: int,
        seed: int,
        objective: Mapping[str, Any] = SQUARED,
    ) -> "BoostedHead":
        """Fit on the training rows and columns that validation finds best at the last horizon.

        Parameters
        ----------
        choices : sequence of (Rows, ndarray of int)
            Training videos, at their own age or at others too, and what is read of their inputs.
        validation : Rows
        tuning, seeds, seed, objective
            See `Boosting`.
        """

        def error(rows: Rows, read: np.ndarray) -> float:
            probe = Boosting(PROBES, 1, seed=seed, objective=objective)
            last = rows.y[:, -1:], validation.X[:, read], validation.y[:, -1:]
            return probe.fit(rows.X[:, read], *last, rows.weight).error

        best = int(np.argmin([error(*each) for each in choices])) if len(choices) > 1 else 0
        rows, read = choices[best]
        boosting = Boosting(tuning, seeds, seed=seed, objective=objective)
        held = validation.X[:, read], validation.y
        boosting.fit(rows.X[:, read], rows.y, *held, rows.weight, "boosted head")
        return cls(boosting, read)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Forecasts (N, H) of what was fitted, from all inputs (N, D); log2 units."""
        return self.boosting.predict(X[:, self.columns])

    def save(self, folder: Path, name: str) -> None:
        """Write the boosters as text, and the columns."""
        self.boosting.save(folder, name)
        (folder / f"{name}.columns.txt").write_text(" ".join(map(str, self.columns)))

    @classmethod
    def load(cls, folder: Path, name: str, horizons: int) -> "BoostedHead | None":
        """What `save` wrote; None where it wrote nothing."""
        boosting = Boosting.load(folder, name, horizons)
        if boosting is None:
            return None
        columns = (folder / f"{name}.columns.txt").read_text().split()
        return cls(boosting, np.array(columns, np.int64))
