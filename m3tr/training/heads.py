"""The two boosted heads of a forecaster: on the base forecast's residual, and on the label."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3tr.boosting import HUBER, SQUARED
from m3tr.model.heads import BoostedHead, Rows
from m3tr.model.inputs import Inputs
from m3tr.training.settings import TrainSettings

OTHER_AGE = 0.4  # weight of a training video at another age than the task's


def age_weights(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Weights of training rows, those at the task's own age first."""
    return np.concatenate([np.full(len(r), OTHER_AGE if i else 1.0) for i, r in enumerate(rows)])


def fit_heads(
    rows: Sequence[Inputs],
    labels: Sequence[np.ndarray],
    validation: Inputs,
    y_validation: np.ndarray,
    content: int,
    settings: TrainSettings,
    seed: int,
) -> tuple[BoostedHead, BoostedHead]:
    """Boosted heads, each on the inputs and ages that validation finds best.

    Parameters
    ----------
    rows, labels : sequences of Inputs and of ndarrays (N, H)
        Training videos at the task's own age, then at others; base forecasts out of fold.
    validation : Inputs
    y_validation : ndarray, shape (N', H)
    content : int
        How many of the numbers, which come first, are covariates and not X_s.

    Returns
    -------
    residual, direct : BoostedHead
        Of what the base forecast leaves over, and of the label.
    """
    n, horizons = len(labels[0]), labels[0].shape[1]
    X, y, base, weight = (
        np.concatenate(parts)
        for parts in (
            [part.everything for part in rows],
            labels,
            [part.base for part in rows],
            [age_weights(labels)],
        )
    )
    # covariates; these with X_s; these with the neighbours and the creator's record
    numbers = rows[0].numbers.shape[1] - horizons
    columns = [np.arange(content), np.arange(numbers)]
    bases = numbers + np.arange(horizons)
    every = np.arange(X.shape[1])
    own = Rows(X, y, weight)
    held = Rows(validation.everything, y_validation, np.ones(len(y_validation)))

    def fit(
        y: np.ndarray, y_held: np.ndarray, columns: list[np.ndarray], objective: Mapping[str, Any]
    ) -> BoostedHead:
        all_ages = own._replace(y=y)
        return BoostedHead.fit(
            [all_ages] if len(rows) == 1 else [all_ages.first(n), all_ages],
            held._replace(y=y_held),
            [*columns, every],
            settings.tuning,
            settings.seeds,
            seed,
            objective,
        )

    with_base = [np.append(each, bases) for each in columns]
    residual = fit(y - base, y_validation - validation.base, with_base, HUBER)
    return residual, fit(y, y_validation, columns, SQUARED)
