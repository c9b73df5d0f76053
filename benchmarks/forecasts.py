"""Forecasts that are not rows of the stage `evaluate`, and what is known of the test videos."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.scores import BEST, LATER, OURS
from m3tr.baselines.base import Data
from m3tr.baselines.lightgbm import LightGBM
from m3tr.baselines.rows import prediction_frame
from m3tr.config import read_params
from m3tr.data.covariates import FeedbackCovariates
from m3tr.data.settings import Observe
from m3tr.data.windows import clocks, observed
from m3tr.evaluation.classes import trajectory_classes
from m3tr.evaluation.run import split_data
from m3tr.model.forecaster import Forecaster
from m3tr.simulation.bayes import bayes_forecast
from m3tr.workspace import MODEL, read_features, read_tables


def forecasts(workspace: Path, split: str) -> pl.DataFrame:
    """Both labels of one split by the workspace's forecaster, as `baselines.rows.SCHEMA`."""
    forecaster = Forecaster.load(workspace / MODEL)
    data, feedback = data_of(workspace, forecaster, split), read_tables(workspace)[1]
    content = read_features(workspace, data.examples)
    found = forecaster.predict(data.videos, feedback, features=content)
    grid = {c: found[c].to_numpy().reshape(len(data), -1) for c in found.columns[3:]}
    interval = grid["increment_lo"], grid["increment_hi"]
    own = forecaster.information
    return pl.concat(
        [
            prediction_frame(OURS, own, "increment", data, grid["increment"], *interval),
            prediction_frame(OURS, own, "total", data, grid["total"]),
        ]
    )


def later_clock(workspace: Path, observe: Mapping[str, Any]) -> pl.DataFrame:
    """The noise floor: LightGBM CF that sees more of the same videos, for the task's own label.

    Its covariates end at a later clock; the label is the increment after the task's clock, part
    of which it therefore sees.

    Parameters
    ----------
    workspace : Path
        Trained on the task.
    observe : mapping
        `task.observe` of the later clock.
    """
    params = read_params(workspace)
    videos, feedback, examples = read_tables(workspace)
    task = params.task.model_copy(update={"observe": Observe.model_validate(dict(observe))})
    at = clocks(videos, task).select("video_id", "observed_at", "age_days")
    later = examples.drop("observed_at", "age_days").join(
        at, on="video_id", how="left", maintain_order="left"
    )
    later = later.select(examples.columns)
    trained = Forecaster.load(workspace / MODEL)
    in_training = later.filter(pl.col("split") == "train")
    covariates = FeedbackCovariates(trained.feedback.kinds)
    covariates.fit(observed(feedback, in_training), in_training)
    seeing = replace(trained, feedback=covariates)
    features = read_features(workspace, examples)
    train, validation, test = (
        split_data(seeing, videos, feedback, later, features, split)
        for split in ("train", "validation", "test")
    )
    setting = params.evaluate
    row = LightGBM("CF", setting.tuning, setting.seeds, setting.n_jobs, params.seed)
    row.fit(train, validation, "increment")
    return prediction_frame(LATER, "CF", "increment", test, row.predict(test))


def best_attainable(world: Path, workspace: Path) -> pl.DataFrame:
    """The test increments by the Bayes forecast of the process that made them."""
    data = data_of(workspace, Forecaster.load(workspace / MODEL), "test")
    return prediction_frame(BEST, "truth", "increment", data, bayes_forecast(world, data.examples))


def test_videos(workspace: Path) -> pl.DataFrame:
    """What the groups of the results are made of, one row a test video.

    Returns
    -------
    DataFrame
        `video_id`, `age_days`, `class`, `unseen` (no feedback by the clock), `new_creator` (none
        of the training videos has it; null where creators are unknown).
    """
    videos, feedback, examples = read_tables(workspace)
    test = examples.filter(pl.col("split") == "test")
    classes = trajectory_classes(feedback, test, read_params(workspace).task.target)
    if "creator_id" not in videos.columns:
        videos = videos.with_columns(creator_id=pl.lit(None, pl.String))
    creators = videos.select("video_id", "creator_id")
    in_training = examples.filter(pl.col("split") == "train").join(creators, on="video_id")
    known = pl.col("creator_id").is_in(in_training["creator_id"].drop_nulls().unique().implode())
    return (
        test.join(creators, on="video_id", how="left", maintain_order="left")
        .join(classes, on="video_id", maintain_order="left")
        .select("video_id", "age_days", "class", unseen=pl.col("n_events") == 0, new_creator=~known)
    )


def data_of(workspace: Path, forecaster: Forecaster, split: str) -> Data:
    """One split as baselines see it."""
    videos, feedback, examples = read_tables(workspace)
    features = read_features(workspace, examples)
    return split_data(forecaster, videos, feedback, examples, features, split)


def squared_error(found: pl.DataFrame, label: str = "increment") -> list[float]:
    """Mean squared error at each horizon, log2 units squared."""
    own = found.filter(pl.col("label") == label).group_by("horizon", maintain_order=True)
    errors = own.agg(((pl.col("y_hat") - pl.col("y")) ** 2).mean()).sort("horizon")
    return [float(e) for e in np.asarray(errors["y_hat"])]
