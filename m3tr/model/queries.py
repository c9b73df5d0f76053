"""What may be known of the videos to be forecast, each by its clock."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from m3tr.data.settings import TaskSettings
from m3tr.data.windows import clocks, event_rows, observed
from m3tr.errors import InputError
from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features

if TYPE_CHECKING:
    from m3tr.hawkes.process import MambaHawkes


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
    feature_settings: FeatureSettings,
    features: Features | None = None,
) -> Queries:
    """Queries for `videos` on the task's clock.

    Feedback of kinds that the training data did not have is left out.

    Without `features` they are extracted from the media paths (absolute, or relative to the
    working directory) and the texts.

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
    if features is None:
        # a forecast is asked for on one machine, wherever the model was fitted
        here = feature_settings.model_copy(update={"engine": "local"})
        features, _, _ = extract(videos, Path(), here)
    seen = observed(feedback, examples)
    seen = seen.filter(pl.col("kind").is_in(mhp.kinds))
    own = features.select(examples["video_id"].to_list())
    return Queries(examples, videos, seen, own, temporal_representation(mhp, seen, examples))


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
