"""What may be known of the videos to be forecast, each by its clock."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from m3tr.data.settings import SECONDS_A_DAY, TaskSettings
from m3tr.data.windows import clocks, event_rows, observed
from m3tr.errors import InputError
from m3tr.features.store import Features
from m3tr.memory.keys import KeyMaker, Keys

if TYPE_CHECKING:
    from m3tr.hawkes.process import MambaHawkes

SAME_AGE = 1e-9  # days


@dataclass(frozen=True)
class Queries:
    """N videos to be forecast, each on its clock, and all that may be known of them by then.

    Attributes
    ----------
    examples : DataFrame
        `video_id`, `published_at`, `observed_at`, `age_days`, `horizon_days`.
    videos : DataFrame
        Rows of the videos table, aligned with `examples`.
    observed : DataFrame
        Feedback up to each clock (`windows.observed`).
    features : Features
        Content features, aligned with `examples`.
    x_s : ndarray, shape (N, D_s)
        Temporal representation at the clock.
    """

    examples: pl.DataFrame
    videos: pl.DataFrame
    observed: pl.DataFrame
    features: Features
    x_s: np.ndarray

    def select(self, rows: np.ndarray) -> "Queries":
        """Some of the videos."""
        examples = self.examples[rows.tolist()]
        return Queries(
            examples,
            self.videos[rows.tolist()],
            self.observed.join(examples.select("video_id"), on="video_id", how="semi"),
            self.features.select(examples["video_id"].to_list()),
            self.x_s[rows],
        )


def make_queries(
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    task: TaskSettings,
    mhp: "MambaHawkes",
    features: Features,
) -> Queries:
    """Queries for `videos` and their features on the task's clock.

    Feedback of kinds that the training data did not have is left out, with a warning.

    Raises
    ------
    InputError
        A video is published after the clock.
    """
    examples = clocks(videos, task)
    if examples.height < videos.height:
        late = videos.join(examples, on="video_id", how="anti").row(0, named=True)
        raise InputError(
            f"video {late['video_id']} is published at {late['published_at']}, after the "
            "clock: leave it out or predict later"
        )
    seen = observed(feedback, examples)
    tell_unknown(seen, mhp.kinds)
    seen = seen.filter(pl.col("kind").is_in(mhp.kinds))
    own = features.select(examples["video_id"].to_list())
    return Queries(examples, videos, seen, own, temporal_representation(mhp, seen, examples))


def tell_unknown(seen: pl.DataFrame, kinds: Sequence[str]) -> None:
    """Warn of feedback by the clocks of other kinds than those a model was trained on."""
    others = sorted({*seen["kind"].drop_nulls().unique()} - {*kinds})
    if others:
        warnings.warn(
            f"feedback of the kind {', '.join(others)} is left out: the model was trained on "
            f"{', '.join(kinds)}; check how it is spelt",
            stacklevel=2,
        )


def at_clock(task: TaskSettings, observed_at: datetime) -> TaskSettings:
    """The same task at one calendar time; its horizons keep their leads after the clock."""
    leads = [horizon - (task.observe.age or horizon * 0) for horizon in task.horizons]
    new = {"observe": {"until": observed_at}, "horizons": leads, "split": "random"}
    return TaskSettings.model_validate({"target": task.target, **new})


def temporal_representation(
    mhp: "MambaHawkes", seen: pl.DataFrame, examples: pl.DataFrame
) -> np.ndarray:
    """X_s (N, D_s) of the examples from their observed feedback (docs/model.md, section 3)."""
    from m3tr.hawkes.events import batch
    from m3tr.hawkes.representation import represent

    ids, ages = examples["video_id"].to_list(), examples["age_days"].to_numpy()
    horizons = np.array(examples["horizon_days"].to_list(), float)
    events = batch(event_rows(seen), ids, ages, mhp.kinds)
    return represent(mhp, events, horizons)[0]


def when_younger(
    mhp: "MambaHawkes", feedback: pl.DataFrame, examples: pl.DataFrame, ages: np.ndarray
) -> np.ndarray:
    """X_s (N, D_s) as it was when each video had an age, days (docs/retrieval.md, "Ages").

    Horizons keep their leads after the clock.

    Parameters
    ----------
    feedback : DataFrame
        What is later than the age is not used.
    ages : ndarray, shape (N,)
        Not above the examples' own.
    """
    then = (pl.Series(ages) * SECONDS_A_DAY * 1e6).round().cast(pl.Int64)
    younger = examples.with_columns(
        observed_at=pl.col("published_at") + pl.duration(microseconds=pl.lit(then)),
        horizon_days=pl.col("horizon_days") + (pl.Series(ages) - pl.col("age_days")),
        age_days=pl.Series(ages),
    )
    seen = observed(feedback, younger).filter(pl.col("kind").is_in(mhp.kinds))
    return temporal_representation(mhp, seen, younger)


def keys_at_ages(
    queries: Queries,
    content: Mapping[str, np.ndarray],
    maker: KeyMaker,
    mhp: "MambaHawkes",
    own: float,
) -> tuple[Keys, np.ndarray]:
    """Keys of queries with this content under a task that observes up to the age `own`, days.

    A query meets the items as they were at the last age of theirs that it has reached, and its key
    is of what it was then; one that has reached none has no trajectory to compare.

    Returns
    -------
    keys : Keys
    ages : ndarray, shape (N,)
        The age of each trajectory key; NaN for `own`.
    """
    keys = maker.keys(queries.x_s, content)
    grid = np.array([*maker.younger, own])
    seen = queries.examples["age_days"].to_numpy()
    last = np.searchsorted(grid, seen + SAME_AGE, side="right") - 1
    trajectory, ages = keys.trajectory.copy(), np.full(len(seen), np.nan)
    trajectory[last < 0] = 0
    for place, age in enumerate(grid):
        rows = np.flatnonzero((last == place) & ~np.isclose(seen, own, rtol=0, atol=SAME_AGE))
        if len(rows):
            then = queries.select(rows)
            x_s = when_younger(mhp, then.observed, then.examples, np.full(len(rows), age))
            younger = None if age == own else float(age)
            trajectory[rows] = maker.trajectory(x_s, younger)
            ages[rows] = np.nan if younger is None else younger
    return Keys(trajectory, keys.content), ages
