"""One explanation of a forecast: the video's curve, and what was retrieved for it and why.

The report and `m3tr explain` show the same value (`m3tr.evaluation.explained` draws it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from m3tr.data.settings import TaskSettings, days
from m3tr.features.strips import strips
from m3tr.memory.neighbours import Neighbours
from m3tr.model.forecaster import Forecaster
from m3tr.model.queries import Queries

POINTS = 24  # of a drawn curve, on either side of the observation age


@dataclass(frozen=True)
class Curve:
    """Cumulative counts of the target at ages (days), looked at up to the age `seen`."""

    ages: Sequence[float]
    counts: Sequence[float]
    seen: float


@dataclass(frozen=True)
class Explanation:
    """Why a forecast of a video is what it is.

    Attributes
    ----------
    video_id, title : str
    observed_at : datetime
        Its clock; `age_days` is its age then.
    compared_days : float
        Age at which trajectories were compared; NaN where each was at its own.
    leads : list of float
        Horizons, days after the clock.
    causal : bool
        Whether every neighbour's outcome was known at the clock (temporal split).
    remembered : bool
        Whether the video is itself an item of the bank.
    fitted : bool
        Whether it was one of the training split, from which the forecaster was fitted.
    curve : Curve
        Ends at the clock where the video's horizons have not passed yet.
    outcome : list of float, or None
        Its increments by horizon, log2 units, where they have passed; the forecast knew none.
    forecast : list of float
        Forecast increments by horizon, log2 units.
    table : DataFrame
        `Bank.explain`: one row a neighbour, best first.
    neighbours : list of Curve
        In the order of `table`.
    frames : mapping of str to list of bytes
        JPEG pictures by video, where there are any.
    """

    video_id: str
    title: str
    observed_at: datetime
    age_days: float
    compared_days: float
    leads: Sequence[float]
    causal: bool
    remembered: bool
    fitted: bool
    curve: Curve
    outcome: Sequence[float] | None
    forecast: Sequence[float]
    table: pl.DataFrame
    neighbours: Sequence[Curve]
    frames: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


def explain(
    forecaster: Forecaster,
    queries: Queries,
    found: Neighbours,
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    media_root: Path | None = None,
    pictured: int | None = None,
) -> list[Explanation]:
    """Explanations of queries, one each.

    Parameters
    ----------
    forecaster : Forecaster
    queries, found : Queries, Neighbours
        Of this forecaster.
    videos, feedback : DataFrame
        The tables; later lives are read from them for the pictures only.
    media_root : Path, optional
        Folder of the media paths; without it there are no pictures of videos.
    pictured : int, optional
        Only so many neighbours of each query get pictures.
    """
    ids = queries.examples["video_id"].to_list()
    everything = forecaster.bank.explain(ids, found)
    tables = [everything.filter(pl.col("video") == video) for video in ids]
    shown = [[v, *t["video_id"].to_list()[:pictured]] for v, t in zip(ids, tables, strict=True)]
    frames = {}
    if media_root is not None and "media" in videos.columns:
        cells = videos.filter(pl.col("video_id").is_in({v for each in shown for v in each}))
        media = dict(cells.select("video_id", "media").iter_rows())
        frames = strips(media, media_root, forecaster.feature_settings.limits)
    forecast = forecaster.forecast(queries, found)
    inside = forecaster.bank.identities.contains(queries.videos)
    trained = forecaster.took_part(queries.videos)
    compared = np.full(len(ids), np.nan) if found.age is None else found.age
    lives, task = Lives(forecaster, feedback, videos), forecaster.task
    own = np.nan if task.observe.age is None else days(task.observe.age)
    compared_at = np.where(np.isnan(compared), own, compared)
    out = []
    for i, example in enumerate(queries.examples.iter_rows(named=True)):
        curve, outcome = lives.of_query(example)
        near = [lives.of_item(int(at), compared[i]) for at in found.index[i] if at >= 0]
        out.append(
            Explanation(
                video_id=ids[i],
                title=(queries.videos["title"][i] or "") if "title" in videos.columns else "",
                observed_at=example["observed_at"],
                age_days=example["age_days"],
                compared_days=float(compared_at[i]),
                leads=leads(task),
                causal=task.split == "temporal",
                remembered=bool(inside[i]),
                fitted=bool(trained[i]),
                curve=curve,
                outcome=outcome,
                forecast=forecast[i].tolist(),
                table=tables[i],
                neighbours=near,
                frames={v: frames[v] for v in shown[i] if v in frames},
            )
        )
    return out


def leads(task: TaskSettings) -> list[float]:
    """Horizons of a task, days after the clock."""
    return [days(horizon - (task.observe.age or horizon * 0)) for horizon in task.horizons]


class Lives:
    """Cumulative counts of the target, whole lives: for pictures only."""

    def __init__(
        self, forecaster: Forecaster, feedback: pl.DataFrame, videos: pl.DataFrame
    ) -> None:
        self._bank = forecaster.bank
        born = videos.select("video_id", "published_at")
        rows = feedback.filter(pl.col("kind") == forecaster.task.target)
        age = (pl.col("time") - pl.col("published_at")).dt.total_microseconds() / 86_400e6
        rows = rows.join(born, on="video_id").select("video_id", "count", age=age)
        by_video = rows.sort("video_id", "age").partition_by("video_id", as_dict=True)
        self._rows = {video: own for (video,), own in by_video.items()}
        self._known = set(videos["video_id"])
        self._end = forecaster.task.observed_until or feedback["time"].max()

    def of_query(self, example: Mapping[str, object]) -> tuple[Curve, list[float] | None]:
        """The curve of a query, and its outcome if its last horizon has passed."""
        video, seen = str(example["video_id"]), float(example["age_days"])  # type: ignore[arg-type]
        ends: list[float] = list(example["horizon_days"])  # type: ignore[call-overload]
        past = self._end is not None and example["known_at"] <= self._end  # type: ignore[operator]
        curve = self._curve(video, seen, ends[-1] if past else seen)
        if not past:
            return curve, None
        counts = self._counts(video, np.array([seen, *ends]))
        return curve, np.log2(1 + counts[1:] - counts[0]).tolist()

    def of_item(self, position: int, compared: float) -> Curve:
        """The curve of an item of the bank, seen up to the age at which it was compared."""
        item = self._bank.describe(np.array([position])).row(0, named=True)
        own, end = (days(item[name] - item["published_at"]) for name in ("observed_at", "known_at"))
        seen = own if np.isnan(compared) else compared
        if item["video_id"] in self._known:
            return self._curve(item["video_id"], seen, end)
        # not of this table: what the bank remembers, at equal steps
        log2 = self._bank.take("curve", np.array([position]))[0]
        ages = _grid(seen, end)
        steps = np.linspace(0, end, len(log2) + 1)
        counts = np.exp2(np.interp(ages, steps, [0.0, *log2])) - 1
        return Curve(ages.tolist(), counts.tolist(), seen)

    def _curve(self, video: str, seen: float, end: float) -> Curve:
        ages = _grid(seen, end)
        return Curve(ages.tolist(), self._counts(video, ages).tolist(), seen)

    def _counts(self, video: str, ages: np.ndarray) -> np.ndarray:
        """Counts in (0, age] at each of `ages`, days."""
        rows = self._rows.get(video)
        if rows is None:
            return np.zeros(len(ages))
        sums = np.concatenate([[0], np.cumsum(rows["count"].to_numpy())])
        at = rows["age"].to_numpy()
        before = np.searchsorted(at, 0.0, side="right")
        return (sums[np.searchsorted(at, ages, side="right")] - sums[before]).astype(float)


def _grid(seen: float, end: float) -> np.ndarray:
    """Ages to draw at; the age `seen` is one of them."""
    return np.unique(np.concatenate([np.linspace(0, seen, POINTS), np.linspace(seen, end, POINTS)]))
