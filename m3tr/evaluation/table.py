"""The scores of every row: at each horizon, over all test videos, by class and by age."""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.evaluation import metrics
from m3tr.evaluation.bootstrap import Bootstrap, interval

OURS = "M3TR"
REFERENCE = "last count"
ORDER = (
    "mean", "last count", "ridge", "ridge CF", "kNN", "Szabo-Huberman", "Hawkes", "HIP",
    "extra trees CF", "LightGBM C", "LightGBM F", "LightGBM CF", "LightGBM CF residual",
    "LightGBM average", "THP", "MMRA-like", OURS,
)  # fmt: skip
COLUMNS = {"row", "information", "video_id", "label", "horizon", "horizon_days", "y", "y_hat"}
MIN_GROUP = 5  # a smaller group has scores but no interval
AGE_BANDS = 4
DECILES = 10


@dataclass(frozen=True)
class Results:
    """Scores of one evaluation.

    Attributes
    ----------
    scores : DataFrame
        One row a table row, label, horizon and group: row, information, label, horizon,
        horizon_days (median over videos), group ("all", "class", "age" or "decile": tenths of the
        row's own forecasts), level, n, nmse, src, mae, crps (each also _lo and _hi, 95 %; in a
        class or age nmse only, in a decile none), precision_top20, coverage, width, nmse_batched,
        src_batched, skill (against `last count`), difference (nMSE minus that of M3TR, with _lo and
        _hi). What is not defined is NaN.
    n_test : int
        Test videos.
    age_days, horizon_days : tuple of float
        Least and greatest observation age; median horizon ages.
    bootstrap : int
        Resamples behind the intervals.
    nominal : float or None
        Nominal coverage of the intervals that `coverage` is of.
    """

    scores: pl.DataFrame
    n_test: int
    age_days: tuple[float, float]
    horizon_days: tuple[float, ...]
    bootstrap: int
    nominal: float | None = None

    def headline(self, label: str) -> pl.DataFrame:
        """Scores over all test videos at the last horizon, one line a row."""
        last = len(self.horizon_days) - 1
        return self.select(label, "all").filter(pl.col("horizon") == last)

    def select(self, label: str, group: str) -> pl.DataFrame:
        """Scores of a label in one kind of group ("all", "class", "age", "decile")."""
        return self.scores.filter((pl.col("label") == label) & (pl.col("group") == group))


def results(
    predictions: pl.DataFrame,
    examples: pl.DataFrame,
    classes: pl.DataFrame | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    nominal: float | None = None,
) -> Results:
    """Score predictions of the test split.

    Parameters
    ----------
    predictions : DataFrame
        row, information, video_id, label, horizon, horizon_days, y, y_hat and optionally lo, hi,
        crps; every row forecasts the same videos at the same horizons.
    examples : DataFrame
        At least these videos, with age_days.
    classes : DataFrame, optional
        video_id and class (`trajectory_classes`).
    bootstrap : int
        Resamples behind the intervals; 0 gives none.
    seed : int
        Seed of the resamples.
    nominal : float, optional
        Nominal coverage of the intervals.

    Raises
    ------
    InputError
        A column is missing, or two rows forecast different videos.
    """
    missing = COLUMNS - set(predictions.columns)
    if missing:
        raise InputError(
            f"predictions: no column {', '.join(sorted(missing))}; run the stage evaluate again."
        )
    if predictions.is_empty():
        raise InputError("predictions: no row; the test split is empty, widen it in params.yaml.")
    videos = predictions.select("video_id").unique().sort("video_id")
    about = videos.join(examples.select("video_id", "age_days"), on="video_id", how="left")
    about = about.sort("video_id")
    if about.height != videos.height or about["age_days"].null_count():
        raise InputError(
            "predictions: a video is not among the examples, or is there twice; "
            "run the stages ingest and evaluate again."
        )
    age = about["age_days"].to_numpy()
    groups = list(_groups(videos, age, classes))
    resample = Bootstrap(videos.height, bootstrap, seed)
    lines: list[dict[str, Any]] = []
    horizons: dict[int, float] = {}
    for (label, horizon), part in predictions.sort("label", "horizon").group_by(
        "label", "horizon", maintain_order=True
    ):
        days = float(np.median(part["horizon_days"].to_numpy()))
        horizons[int(str(horizon))] = days
        block = _Block(part, videos)
        for group, level, inside in groups:
            key = {"label": label, "horizon": horizon, "horizon_days": days}
            key |= {"group": group, "level": level, "n": int(inside.sum())}
            lines += [line | key for line in block.scores(inside, group == "all", resample)]
        place = {"label": label, "horizon": horizon, "horizon_days": days, "group": "decile"}
        lines += [line | place for line in block.deciles()]
    return Results(
        scores=pl.DataFrame(lines, infer_schema_length=None),
        n_test=videos.height,
        age_days=(float(age.min()), float(age.max())),
        horizon_days=tuple(horizons[h] for h in sorted(horizons)),
        bootstrap=bootstrap,
        nominal=nominal,
    )


class _Block:
    """The forecasts of all table rows for one label and horizon, aligned by video."""

    def __init__(self, part: pl.DataFrame, videos: pl.DataFrame) -> None:
        found = part["row"].unique(maintain_order=True).to_list()
        known = [name for name in ORDER if name in found]
        self.rows = known + [name for name in found if name not in ORDER]
        self.information: list[str] = []
        columns: dict[str, list[np.ndarray]] = {k: [] for k in ("y", "y_hat", "lo", "hi", "crps")}
        for name in self.rows:
            own = part.filter(pl.col("row") == name).sort("video_id")
            if not own["video_id"].equals(videos["video_id"]):
                raise InputError(
                    f"predictions: the row '{name}' does not forecast the same videos as the "
                    "others; run the stage evaluate again."
                )
            self.information.append(own["information"][0])
            for key, into in columns.items():
                bound = own[key] if key in own.columns else pl.Series([None] * own.height)
                into.append(bound.cast(pl.Float64).fill_null(math.nan).to_numpy())
        self.y = columns["y"][0]
        self.Y_hat, self.lo, self.hi, self.crps = (
            np.column_stack(columns[k]) for k in ("y_hat", "lo", "hi", "crps")
        )
        if not (np.isfinite(self.Y_hat).all() and np.isfinite(self.y).all()):
            raise InputError("predictions: y or y_hat is missing or infinite; train again.")

    def scores(self, inside: np.ndarray, everyone: bool, resample: Bootstrap) -> list[dict]:
        """One dict a table row for the videos `inside` (N,); differences for `everyone` only."""
        y, Y_hat = self.y[inside], self.Y_hat[inside]
        # one variance for all groups: theirs average to the nMSE over the whole test set
        variance = float(np.var(self.y)) or math.nan
        errors = np.abs(self.Y_hat - self.y[:, None])
        squared = errors**2
        rows = range(len(self.rows))
        boot: dict[str, np.ndarray] = {}
        if resample.replications and len(y) >= MIN_GROUP:
            scale = resample.variances(self.y)[:, None]
            boot["nmse"] = resample.means(squared, inside) / np.where(scale > 0, scale, np.nan)
            if everyone:
                boot["mae"] = resample.means(errors)
                boot["src"] = resample.src(self.y, self.Y_hat)
                boot["crps"] = resample.means(self.crps)
        reference = self._column(Y_hat, REFERENCE)
        ours = self.rows.index(OURS) if OURS in self.rows and everyone else None
        lines = []
        for j in rows:
            line: dict[str, Any] = {"row": self.rows[j], "information": self.information[j]}
            line["nmse"] = float(squared[inside, j].mean()) / variance if len(y) else math.nan
            line["src"] = metrics.src(y, Y_hat[:, j])
            line["mae"] = metrics.mae(y, Y_hat[:, j])
            line["crps"] = float(self.crps[inside, j].mean()) if len(y) else math.nan
            for key in ("nmse", "src", "mae", "crps"):
                lo, hi = interval(boot[key][:, j]) if key in boot else (math.nan, math.nan)
                line |= {f"{key}_lo": lo, f"{key}_hi": hi}
            line["precision_top20"] = metrics.precision_at_top(y, Y_hat[:, j])
            lo, hi = self.lo[inside, j], self.hi[inside, j]
            line["coverage"], line["width"] = metrics.coverage(y, lo, hi), metrics.width(lo, hi)
            line["nmse_batched"] = metrics.batched(metrics.nmse, y, Y_hat[:, j])
            line["src_batched"] = metrics.batched(metrics.src, y, Y_hat[:, j])
            if reference is not None:
                line["skill"] = metrics.skill(y, Y_hat[:, j], reference)
            else:
                line["skill"] = math.nan
            line |= dict.fromkeys(("difference", "difference_lo", "difference_hi"), math.nan)
            if ours is not None and j != ours:
                gap = squared[:, j] - squared[:, ours]
                line["difference"] = float(gap.mean()) / variance
                if "nmse" in boot:
                    lo, hi = interval(boot["nmse"][:, j] - boot["nmse"][:, ours])
                    line |= {"difference_lo": lo, "difference_hi": hi}
            lines.append(line)
        return lines

    def deciles(self) -> list[dict[str, Any]]:
        """One dict a table row and tenth of its own forecasts, lowest first; no intervals.

        A row has none where there are fewer videos, or different forecasts, than tenths.
        """
        lines = []
        for j, y_hat in enumerate(self.Y_hat.T):
            if len(np.unique(y_hat)) < DECILES:
                continue
            parts = np.array_split(np.argsort(y_hat, kind="stable"), DECILES)
            for level, inside in enumerate(parts, 1):
                own = np.isin(np.arange(len(y_hat)), inside)
                (line,) = self._only(j).scores(own, False, Bootstrap(len(y_hat), 0))
                lines.append(line | {"level": str(level), "n": len(inside)})
        return lines

    def _only(self, j: int) -> "_Block":
        """The block of one table row."""
        one = copy(self)
        one.rows, one.information = [self.rows[j]], [self.information[j]]
        for name in ("Y_hat", "lo", "hi", "crps"):
            setattr(one, name, getattr(self, name)[:, [j]])
        return one

    def _column(self, Y_hat: np.ndarray, row: str) -> np.ndarray | None:
        return Y_hat[:, self.rows.index(row)] if row in self.rows else None


def _groups(
    videos: pl.DataFrame, age: np.ndarray, classes: pl.DataFrame | None
) -> Iterator[tuple[str, str, np.ndarray]]:
    """(group, level, mask (N,)) for all videos, each class, and age bands where ages differ."""
    yield "all", "all", np.ones(videos.height, bool)
    if classes is not None:
        from m3tr.evaluation.classes import CLASSES

        own = videos.join(classes, on="video_id", how="left").sort("video_id")["class"].to_numpy()
        for name in CLASSES:
            if (own == name).any():
                yield "class", name, own == name
    if np.ptp(age) > 0.01 * max(age.max(), 1e-9):
        cuts = np.unique(np.quantile(age, np.linspace(0, 1, AGE_BANDS + 1)))
        band = np.clip(np.searchsorted(cuts, age, side="left") - 1, 0, len(cuts) - 2)
        for b in range(len(cuts) - 1):
            if (band == b).any():
                yield "age", f"{cuts[b]:.3g} to {cuts[b + 1]:.3g} d", band == b
