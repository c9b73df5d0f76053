"""Observation windows and labels: the first clause of the information contract lives here.

A prediction for video i is made on the clock tau_i; it may use no feedback row with time > tau_i
(docs/model.md, 1 and 2). Boundaries are compared as exact times, never as rounded ages.
"""

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from m3tr.data.settings import SECONDS_A_DAY, TaskSettings
from m3tr.data.splits import assign_splits
from m3tr.errors import InputError

DAYS = SECONDS_A_DAY * 1e6  # microseconds
CURVE_POINTS = 16


def _days_between(start: str, end: pl.Expr) -> pl.Expr:
    return (end - pl.col(start)).dt.total_microseconds() / DAYS


def observed(feedback: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Feedback that a query may use: the rows with ``time <= observed_at`` of its video.

    This is the only gate to query feedback (docs/model.md, 2, clause 1).

    Parameters
    ----------
    feedback : DataFrame
        `video_id`, `time`, `kind`, `count`.
    examples : DataFrame
        `video_id`, `published_at`, `observed_at`; one row a video.

    Returns
    -------
    DataFrame
        `video_id`, `time`, `kind`, `count`, `age_days`, sorted by (video_id, time, kind).
    """
    clocks = examples.select("video_id", "published_at", "observed_at")
    return (
        feedback.join(clocks, on="video_id", how="inner")
        .filter(pl.col("time") <= pl.col("observed_at"))
        .select(
            "video_id",
            "time",
            "kind",
            "count",
            _days_between("published_at", pl.col("time")).alias("age_days"),
        )
        .sort("video_id", "time", "kind", "count")
    )


def event_rows(seen: pl.DataFrame) -> pl.DataFrame:
    """Observed feedback as `m3tr.hawkes` takes it: `sequence` (the video), `time` (days), ..."""
    named = {"sequence": "video_id", "time": "age_days"}
    return seen.select("kind", "count", **{new: pl.col(old) for new, old in named.items()})


def feedback_kinds(seen: pl.DataFrame, target: str) -> list[str]:
    """Kinds in `seen`, the target first; from training feedback, or later rows would add some."""
    return [target, *sorted(set(seen["kind"].unique()) - {target})]


def growth_curves(
    feedback: pl.DataFrame, examples: pl.DataFrame, target: str, points: int = CURVE_POINTS
) -> np.ndarray:
    """Outcomes as curves: log2(1 + target count) at equal steps of (0, H], H the last horizon.

    They hold what came after the clock: for labelled examples, never for queries.

    Returns
    -------
    ndarray, shape (N, points), float32
    """
    place = examples.select(
        "video_id", "published_at", end=pl.col("horizon_days").list.last()
    ).with_row_index("i")
    rows = feedback.filter(pl.col("kind") == target).join(place, on="video_id", how="inner")
    age = rows.select(_days_between("published_at", pl.col("time"))).to_series().to_numpy()
    share = age / rows["end"].to_numpy()
    inside = (share > 0) & (share <= 1 + 1e-9)
    step = np.minimum(np.ceil(share[inside] * points - 1e-9).astype(int) - 1, points - 1)
    counts = np.zeros((examples.height, points))
    np.add.at(counts, (rows["i"].to_numpy()[inside], step), rows["count"].to_numpy()[inside])
    return np.log2(1 + counts.cumsum(1)).astype(np.float32)


def clocks(videos: pl.DataFrame, task: TaskSettings) -> pl.DataFrame:
    """Clock of every video under the task, without regard to feedback.

    Returns
    -------
    DataFrame
        `video_id`, `published_at`, `observed_at` (tau), `age_days` (a), `_end` (List of times: the
        horizons' ends), `known_at`, `horizon_days`; a row for each video published by tau.
    """
    if task.observe.age is not None:
        start = pl.col("published_at")
        tau = start + task.observe.age
    else:
        start = tau = pl.lit(task.observe.until).dt.cast_time_unit("us")
    ends = [start + horizon for horizon in task.horizons]
    return (
        videos.select("video_id", "published_at")
        .with_columns(
            tau.alias("observed_at"),
            _days_between("published_at", tau).alias("age_days"),
            pl.concat_list(ends).alias("_end"),
            ends[-1].alias("known_at"),
            pl.concat_list([_days_between("published_at", end) for end in ends]).alias(
                "horizon_days"
            ),
        )
        .filter(pl.col("published_at") <= pl.col("observed_at"))
    )


def make_examples(
    videos: pl.DataFrame, feedback: pl.DataFrame, task: TaskSettings
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Build the examples: clocks, labels and splits (docs/model.md, 1 and 2).

    ``increment = log2(1 + N(a, H])`` and ``total = log2(1 + N(0, H])``, with N the sum of
    `count` of the target kind.

    Parameters
    ----------
    videos, feedback : DataFrame
        Clean tables, see `m3tr.data.quarantine.clean`.
    task : TaskSettings

    Returns
    -------
    examples : DataFrame
        `video_id`, `published_at`, `observed_at`, `age_days`, `split`, `known_at`, `n_events`
        (rows of any kind with time <= tau), `observed` (target count in (0, a]), `horizon_days`,
        `increment`, `total` (lists over the horizons, log2 units); sorted by (observed_at,
        video_id).
    report : dict
        How many videos were left out and why, the size of each split, the end of the data.

    Raises
    ------
    InputError
        The target kind does not occur, the temporal split is asked for at one calendar time, or no
        example is left in a split.
    """
    if task.observe.until is not None and task.split == "temporal":
        raise InputError(
            "params.yaml: under task.observe.until every video has the same clock, so there is no "
            "earlier and later to split; set task.split: random, or use task.observe.age."
        )
    kinds = feedback["kind"].unique().sort().to_list()
    if task.target not in kinds:
        raise InputError(
            f"params.yaml: no feedback has the target kind {task.target!r}; set task.target to one "
            f"of {', '.join(map(str, kinds))}."
        )
    data_end: datetime = task.observed_until or feedback["time"].max()  # type: ignore[assignment]
    enough, left_out = labelled(videos, feedback, task, data_end)
    report: dict[str, Any] = {"videos": videos.height, "data_end": data_end.isoformat()} | left_out
    if enough.is_empty():
        raise InputError(
            "params.yaml: no video is left to learn from "
            f"({report['left_out_published_after_clock']} published after the clock, "
            f"{report['left_out_censored']} whose last horizon ends after the data's end "
            f"{data_end:%Y-%m-%d %H:%M}, {report['left_out_too_few_events']} with too few events); "
            "shorten task.horizons or lower task.min_events."
        )
    examples, figures = assign_splits(enough, videos, task)
    report |= figures
    report["examples"] = examples.height
    report["unseen_at_observation"] = examples.filter(pl.col("n_events") == 0).height
    columns = ["video_id", "published_at", "observed_at", "age_days", "split", "known_at"]
    columns += ["n_events", "observed", "horizon_days", "increment", "total"]
    return examples.select(columns).sort("observed_at", "video_id"), report


def labelled(
    videos: pl.DataFrame, feedback: pl.DataFrame, task: TaskSettings, until: datetime
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Every video whose outcome is known at `until`, with its labels; it belongs to no split yet.

    Returns
    -------
    examples : DataFrame
        As of `make_examples`, but for `split`; in the order of `videos`.
    left_out : dict
        How many videos are not among them, by reason.
    """
    frame = clocks(videos, task)
    left_out = {"left_out_published_after_clock": videos.height - frame.height}
    known = frame.filter(pl.col("known_at") <= until)
    left_out["left_out_censored"] = frame.height - known.height
    everyone = _labels(known, feedback, task)
    enough = everyone.filter(pl.col("n_events") >= task.min_events)
    left_out["left_out_too_few_events"] = everyone.height - enough.height
    return enough, left_out


def _labels(frame: pl.DataFrame, feedback: pl.DataFrame, task: TaskSettings) -> pl.DataFrame:
    """Add `n_events`, `observed`, `increment`, `total`; what lies after the last end is unused."""
    rows = feedback.join(
        frame.select("video_id", "published_at", "observed_at", "_end"), on="video_id", how="inner"
    )
    is_target = pl.col("kind") == task.target
    seen = pl.col("time") <= pl.col("observed_at")
    born = pl.col("time") > pl.col("published_at")
    count = pl.col("count").cast(pl.Int64)
    sums = [count.filter(is_target & born & seen).sum().alias("observed")]
    for h in range(len(task.horizons)):
        within = is_target & (pl.col("time") <= pl.col("_end").list.get(h))
        sums += [
            count.filter(within & ~seen).sum().alias(f"_increment{h}"),
            count.filter(within & born).sum().alias(f"_total{h}"),
        ]
    figures = rows.group_by("video_id").agg(seen.sum().cast(pl.Int64).alias("n_events"), *sums)
    names = [c for c in figures.columns if c != "video_id"]

    def log2(prefix: str) -> pl.Expr:
        logs = [(pl.col(f"{prefix}{h}") + 1).log(2) for h in range(len(task.horizons))]
        return pl.concat_list(logs)

    return (
        frame.join(figures, on="video_id", how="left", maintain_order="left")
        .with_columns(pl.col(names).fill_null(0))
        .with_columns(log2("_increment").alias("increment"), log2("_total").alias("total"))
    )
