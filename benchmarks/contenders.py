"""M3TR and LightGBM CF, trained on the same tables and asked about the same videos."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.folds import run_stages, timed
from benchmarks.workspaces import merged, write_settings
from m3tr.baselines.lightgbm import LightGBM
from m3tr.config import read_params
from m3tr.data.windows import make_examples
from m3tr.evaluation.bootstrap import Bootstrap, interval
from m3tr.evaluation.run import split_data
from m3tr.features.store import Features
from m3tr.model.forecaster import Forecaster
from m3tr.workspace import MODEL, TABLES, read_features, read_tables, write_table

NAMES = ("M3TR", "LightGBM CF")

# feedback and examples in, feedback to train on out
Change = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Contenders:
    """Both models, fitted, and the videos of the test split.

    Attributes
    ----------
    forecaster : Forecaster
    rival : LightGBM
        `LightGBM CF` on increments, tuned on validation.
    videos, feedback, examples : DataFrame
        The clean tables as they were trained on; examples of all splits, with true labels.
    features : Features
        Of the examples.
    """

    forecaster: Forecaster
    rival: LightGBM
    videos: pl.DataFrame
    feedback: pl.DataFrame
    examples: pl.DataFrame
    features: Features

    @property
    def test(self) -> pl.DataFrame:
        """Examples of the test split."""
        return self.examples.filter(pl.col("split") == "test")

    @property
    def y(self) -> np.ndarray:
        """True increments of the test videos at the last horizon, (N,), log2 units."""
        return np.array([labels[-1] for labels in self.test["increment"]], float)

    def errors(
        self,
        videos: pl.DataFrame | None = None,
        feedback: pl.DataFrame | None = None,
        features: Features | None = None,
    ) -> np.ndarray:
        """Squared errors of both models at the last horizon, (N, 2), in the order of `NAMES`.

        Parameters
        ----------
        videos, feedback, features : optional
            What is known of the test videos, where it is not what the models were trained on;
            both models see the same.
        """
        videos = self.videos if videos is None else videos
        feedback = self.feedback if feedback is None else feedback
        features = self.features if features is None else features
        data = split_data(self.forecaster, videos, feedback, self.examples, features, "test")
        content = features.select(data.examples["video_id"].to_list())
        ours = self.forecaster.predict(data.videos, feedback, features=content)["increment"]
        forecasts = (ours.to_numpy().reshape(len(data), -1), self.rival.predict(data))
        return np.column_stack([(f[:, -1] - self.y) ** 2 for f in forecasts])


def prepare(workspace: Path, settings: dict[str, Any]) -> None:
    """Clean tables and features, which do not depend on when a video is forecast."""
    write_settings(workspace, settings)
    run_stages(workspace, ("ingest", "features"))


def train(
    workspace: Path,
    settings: dict[str, Any],
    task: dict[str, Any] | None = None,
    change: Change | None = None,
) -> Contenders:
    """Train both models in a prepared workspace.

    Parameters
    ----------
    workspace : Path
    settings : dict
        Content of params.yaml.
    task : dict, optional
        Keys of its section `task` to replace.
    change : callable, optional
        What to do to the feedback before anything is learned; labels are those of the true one.
    """
    # at other ages labels would be counted from the changed feedback
    ages: dict[str, Any] = {} if change is None else {"ages": []}
    write_settings(workspace, merged(settings, {"task": task or {}, "train": ages}))
    params = read_params(workspace)
    videos, clean, _ = read_tables(workspace)
    examples, _ = make_examples(videos, clean, params.task)
    feedback = clean if change is None else change(clean, examples)
    try:
        write_table(examples, workspace / TABLES / "examples.parquet")
        write_table(feedback, workspace / TABLES / "feedback.parquet")
        run_stages(workspace, ("trajectories", "bank", "train"))
    finally:  # the next training starts from the clean one
        write_table(clean, workspace / TABLES / "feedback.parquet")
    forecaster = Forecaster.load(workspace / MODEL)
    features = read_features(workspace, examples)
    fit_on, validation = (
        split_data(forecaster, videos, feedback, examples, features, split)
        for split in ("train", "validation")
    )
    e = params.evaluate
    rival = LightGBM("CF", e.tuning, e.seeds, e.n_jobs, params.seed)
    with timed(rival.name):
        rival.fit(fit_on, validation, "increment")
    return Contenders(forecaster, rival, videos, feedback, examples, features)


def compare(
    errors: np.ndarray, y: np.ndarray, clean: np.ndarray | None, replications: int, seed: int
) -> dict[str, float]:
    """Figures of one setting from squared errors (N, 2) and truths (N,).

    Parameters
    ----------
    clean : ndarray, shape (N, 2), optional
        Squared errors of the same models on the same videos as they are.
    replications, seed : int
        Of the paired bootstrap over videos.

    Returns
    -------
    dict
        `m3tr`, `lightgbm`: nMSE; `ratio`, the first over the second, with `ratio_lo` and
        `ratio_hi` (95 %); with `clean` also `rise_m3tr`, `rise_lightgbm`: each error over its own
        on whole videos, less 1.
    """
    mean, variance = errors.mean(0), y.var()
    drawn = Bootstrap(len(y), replications, seed).means(errors)
    lo, hi = interval(drawn[:, 0] / drawn[:, 1])
    figures = {
        "m3tr": float(mean[0] / variance),
        "lightgbm": float(mean[1] / variance),
        "ratio": float(mean[0] / mean[1]),
        "ratio_lo": lo,
        "ratio_hi": hi,
    }
    if clean is not None:
        rise = mean / clean.mean(0) - 1
        figures |= {"rise_m3tr": float(rise[0]), "rise_lightgbm": float(rise[1])}
    return figures
