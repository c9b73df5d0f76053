"""One evaluation: forecasts of the test split by M3TR and the baselines, scored and shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.baselines.base import Data, Label
from m3tr.baselines.rows import baselines, prediction_frame, predictions
from m3tr.data.windows import observed
from m3tr.evaluation.bounds import check, to_json
from m3tr.evaluation.classes import trajectory_classes
from m3tr.evaluation.explanation import Explanation, explain
from m3tr.evaluation.markdown import Header, to_markdown
from m3tr.evaluation.report import write_report
from m3tr.evaluation.settings import EvaluationSettings
from m3tr.evaluation.table import results
from m3tr.features.store import Features
from m3tr.model.forecaster import Forecaster
from m3tr.quantiles import crps_from_quantiles

SHOWN = 6  # test videos that are explained
PICTURED = 4  # neighbours of each with pictures: the page stays small


def evaluate(
    forecaster: Forecaster,
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    features: Features,
    settings: EvaluationSettings,
    seed: int,
    header: Header,
    folder: Path,
    provenance: Mapping[str, Any],
    media_root: Path | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Forecast the test split and write results.md, results.json and report.html to `folder`.

    Parameters
    ----------
    forecaster : Forecaster
    videos, feedback, examples : DataFrame
        The clean tables and all examples.
    features : Features
        Of the examples, in their order.
    settings : EvaluationSettings
    seed : int
    header : Header
        What the numbers must be read with.
    folder : Path
        Created where it does not exist.
    provenance : mapping
        Shown in the report.
    media_root : Path, optional
        Folder of the media paths, for pictures of the videos that are explained.

    Returns
    -------
    predictions : DataFrame
        One row a table row, label, video and horizon (`baselines.rows.SCHEMA`).
    figures : dict
        `headline` (nmse, src, mae of M3TR), `nmse` by row, and `bounds`.
    """
    by_split = {
        split: split_data(forecaster, videos, feedback, examples, features, split)
        for split in ("train", "validation", "test")
    }
    rows = baselines(settings.tuning, settings.seeds, settings.n_jobs, seed)
    test = by_split["test"]
    nominal = forecaster.intervals.coverage
    rivals = predictions(rows, by_split["train"], by_split["validation"], test, nominal)
    content = features.select(test.examples["video_id"].to_list())
    ours, breaches = forecasts(forecaster, test, feedback, content, examples)
    everything = pl.concat([rivals, ours])

    classes = trajectory_classes(feedback, test.examples, test.target)
    scores = results(everything, test.examples, classes, settings.bootstrap, seed, nominal)
    table = to_json(scores)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(table, indent=2) + "\n")
    (folder / "results.md").write_text(to_markdown(scores, header, batched=settings.batched))
    shown = explained(forecaster, test, content, videos, feedback, seed, media_root)
    write_report(folder / "report.html", scores, everything, header, shown, provenance)
    headline = table["M3TR"]
    figures = {
        "headline": {name: headline[name] for name in ("nmse", "src", "mae")},
        "nmse": {row: scored["nmse"] for row, scored in table.items()},
        "bounds": check(table, settings.bounds),
        "contract": breaches,
        "split": header.split_in_words(),
    }
    return everything, figures


def split_data(
    forecaster: Forecaster,
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    features: Features,
    split: str,
) -> Data:
    """One split as the baselines see it, with the forecaster's own covariates."""
    own = examples.filter(pl.col("split") == split)
    rows = own.select("video_id").join(videos, on="video_id", how="left", maintain_order="left")
    seen = observed(feedback, own)
    content = features.select(own["video_id"].to_list())
    return Data(
        examples=own,
        videos=rows,
        observed=seen,
        X_feedback=forecaster.feedback.transform(seen, own),
        X_content=forecaster.content.transform(rows, content),
        kinds=forecaster.feedback.kinds,
        target=forecaster.task.target,
        kept_whole=forecaster.task.kept_whole,
    )


def forecasts(
    forecaster: Forecaster,
    test: Data,
    feedback: pl.DataFrame,
    features: Features,
    examples: pl.DataFrame,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """M3TR's forecasts of both labels, and breaches of the contract among what it was shown."""
    queries = forecaster.queries(test.videos, feedback, features=features)
    found = forecaster.retrieve(queries)
    inputs = forecaster.inputs(queries, found)
    increment = forecaster.forecast_inputs(inputs)
    lo, hi = forecaster.intervals.interval(inputs.everything, increment)
    quantiles = forecaster.intervals.quantiles(inputs.everything, increment)  # (N, H, Q)
    around = np.dstack([increment, lo, hi, quantiles])
    seen = test.examples["observed"].to_numpy()[:, None, None]
    # the total grows with the increment, so its quantiles are those of the increment, carried over
    each: dict[Label, np.ndarray] = {
        "increment": around,
        "total": np.log2(seen + np.exp2(around)),
    }
    parts = []
    for label, q in each.items():
        crps = crps_from_quantiles(test.y(label), q[..., 3:])
        parts.append(
            prediction_frame(
                "M3TR", forecaster.information, label, test, q[..., 0], q[..., 1], q[..., 2], crps
            )
        )
    held_out = set(examples.filter(pl.col("split") != "train")["video_id"])
    return pl.concat(parts), forecaster.breaches(queries, found, held_out)


def explained(
    forecaster: Forecaster,
    test: Data,
    features: Features,
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    seed: int,
    media_root: Path | None,
) -> list[Explanation]:
    """Some test videos, drawn at random, with what was retrieved for each."""
    pick = np.sort(np.random.default_rng(seed).permutation(len(test))[:SHOWN]).tolist()
    own = features.select(test.examples[pick]["video_id"].to_list())
    queries = forecaster.queries(test.videos[pick], feedback, features=own)
    found = forecaster.retrieve(queries)
    return explain(forecaster, queries, found, videos, feedback, media_root, PICTURED)
