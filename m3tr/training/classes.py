"""Latent trajectory classes of the training videos, from their whole histories."""

import numpy as np
import polars as pl

from m3tr.data.windows import observed
from m3tr.hawkes.histories import Histories
from m3tr.hawkes.latent import LatentClasses
from m3tr.hawkes.process import MambaHawkes

MOST, MOST_EVENTS = 3000, 2_000_000  # that EM reads; more say little more of so few classes
LONGEST = MOST_EVENTS // 10  # events of a video that EM reads: one of more would crowd out others
FEWEST = 20  # videos a class
SURE = 2.0  # standard errors of a gain that is none of chance


def fit_classes(whole: Histories, observed: np.ndarray, mhp: MambaHawkes) -> LatentClasses:
    """Latent classes of whole training histories; without events of their own times, unfitted.

    A counter's row tells of hundreds of events at once, but not when each was: taken as events they
    would leave no doubt of any class.

    Parameters
    ----------
    whole : Histories
        Of the training videos, up to their last horizon (`whole_histories`).
    observed : ndarray, shape (N,)
        Their ages at the task's clock, days.
    mhp : MambaHawkes
        Whose kinds, settings and decay rates are taken over.
    """
    settings = mhp.settings
    if not len(whole.count) or np.mean(whole.count == 1) < 0.5:
        return LatentClasses()
    order = np.random.default_rng(settings.seed).permutation(len(whole))
    length = np.diff(whole.offsets)
    order = order[length[order] <= LONGEST][:MOST]
    rows = np.sort(order[np.cumsum(length[order]) <= MOST_EVENTS])
    classes = min(settings.classes, len(rows) // FEWEST)
    if classes < 2:
        return LatentClasses()
    return LatentClasses().fit(
        whole.select(rows), observed[rows], classes, len(mhp.kinds), mhp.beta.numpy(), settings.seed
    )


def lower(errors: np.ndarray, others: np.ndarray, groups: np.ndarray) -> bool:
    """Whether squared errors (N,) are lower than others of the same videos, beyond chance.

    Videos of one of the `groups` (N,) err together: chance is that of whole groups.
    """
    gain = np.bincount(np.unique(groups, return_inverse=True)[1], others**2 - errors**2)
    return bool(gain.mean() > SURE * gain.std() / np.sqrt(len(gain)))


def whole_histories(feedback: pl.DataFrame, examples: pl.DataFrame, kinds: list[str]) -> Histories:
    """Histories of labelled examples up to their last horizon: of training videos only."""
    late = examples.with_columns(
        observed_at=pl.col("known_at"), age_days=pl.col("horizon_days").list.last()
    )
    return Histories.of(observed(feedback, late), late, kinds)
