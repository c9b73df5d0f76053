"""The trees of a forecaster: on the base forecast's residual, and on the label."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3tr.boosting import HUBER, SQUARED
from m3tr.forest import Forest
from m3tr.model.heads import LABEL, RESIDUAL, BoostedHead, Rows
from m3tr.model.inputs import Inputs
from m3tr.training.settings import TrainSettings

OTHER_AGE = 0.4  # weight of a training video at another age than the task's


def age_weights(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Weights of training rows, those at the task's own age first."""
    return np.concatenate([np.full(len(r), OTHER_AGE if i else 1.0) for i, r in enumerate(rows)])


def fit_boosted(
    inputs: Inputs,
    ages: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    validation: Inputs,
    y_validation: np.ndarray,
    content: int,
    settings: TrainSettings,
    seed: int,
) -> dict[str, BoostedHead]:
    """Boosted heads, each on the inputs and ages that validation finds best.

    What neighbours came to is counted from the task's own age: only rows at that age read it.

    Parameters
    ----------
    inputs : Inputs
        Of the N training videos at the task's own age.
    ages : sequence of (covariates (N_a, D), labels (N_a, H), out-of-fold base forecasts (N_a, H))
        Training videos at the task's own age, then at others.
    validation : Inputs
    y_validation : ndarray, shape (N', H)
    content : int
        How many of the covariates, which come first, are not X_s.

    Returns
    -------
    dict
        By what is forecast (`TARGETS`).
    """
    X, y, base = (np.vstack(parts) for parts in zip(*ages, strict=True))
    weight = age_weights([labels for _, labels, _ in ages])
    numbers, n = X.shape[1], len(inputs.base)
    columns = [np.arange(content), np.arange(numbers)]
    bases = np.arange(numbers, numbers + base.shape[1])
    every = np.arange(inputs.everything.shape[1])
    held = Rows(validation.everything, y_validation, np.ones(len(y_validation)))

    def fit(
        y: np.ndarray, y_held: np.ndarray, columns: list[np.ndarray], objective: Mapping[str, Any]
    ) -> BoostedHead:
        own = Rows(inputs.everything, y[:n], weight[:n])
        choices = [(own, read) for read in [*columns, every]]
        if len(ages) > 1:
            choices += [(Rows(np.hstack([X, base]), y, weight), read) for read in columns]
        effort = settings.tuning, settings.seeds, seed
        return BoostedHead.fit(choices, held._replace(y=y_held), *effort, objective)

    with_base = [np.append(each, bases) for each in columns]
    return {
        RESIDUAL: fit(y - base, y_validation - validation.base, with_base, HUBER),
        LABEL: fit(y, y_validation, columns, SQUARED),
    }


def fit_forests(inputs: Inputs, y: np.ndarray, trees: int, seed: int) -> dict[str, Forest]:
    """Forests of so many trees on all inputs, labels y (N, H), by what is forecast (`TARGETS`)."""
    targets = {RESIDUAL: y - inputs.base, LABEL: y}
    return {
        name: Forest().fit(inputs.everything, target, trees, seed)
        for name, target in targets.items()
    }
