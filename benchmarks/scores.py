"""Scores of a task over its folds, from the forecasts of every row.

A score is computed in each fold and averaged over the folds. Bootstrap intervals resample the test
videos of all folds together, the same draw for all rows (docs/evaluation.md, "Intervals").
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from m3tr.evaluation import metrics
from m3tr.evaluation.bootstrap import Bootstrap, interval
from m3tr.evaluation.table import AGE_BANDS, DECILES, MIN_GROUP, OURS

RIVALS = ("LightGBM CF", "LightGBM average")
BEST, LATER = "best attainable", "LightGBM CF, later clock"
NOT_FORECASTERS = (BEST, LATER)
RESAMPLES = 1000


@dataclass(frozen=True)
class Fold:
    """What a fold leaves: forecasts of the test part (`SCHEMA`), its videos, its result."""

    forecasts: pl.DataFrame
    videos: pl.DataFrame
    result: Mapping[str, Any]


def rows_of(folds: Sequence[Fold]) -> dict[str, str]:
    """Information set of each row that every fold has."""
    every = [dict(f.forecasts.select("row", "information").unique().iter_rows()) for f in folds]
    order = folds[0].forecasts["row"].unique(maintain_order=True).to_list()
    return {row: every[0][row] for row in order if all(row in fold for fold in every)}


def fold_scores(forecasts: pl.DataFrame) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """`{row: {label: [{horizon_days, n, nmse, src, mae, coverage, width}]}}` of one fold."""
    out: dict[str, dict[str, list[dict[str, Any]]]] = {}
    ordered = forecasts.sort("horizon", maintain_order=True)
    for (row, label, _), part in ordered.group_by("row", "label", "horizon", maintain_order=True):
        y, y_hat, lo, hi = (part[c].to_numpy() for c in ("y", "y_hat", "lo", "hi"))
        scored = {
            "horizon_days": float(np.median(part["horizon_days"].to_numpy())),
            "n": len(y),
            "nmse": _number(metrics.nmse(y, y_hat)),
            "src": _number(metrics.src(y, y_hat)),
            "mae": _number(metrics.mae(y, y_hat)),
            "coverage": _number(metrics.coverage(y, lo, hi)),
            "width": _number(metrics.width(lo, hi)),
        }
        out.setdefault(str(row), {}).setdefault(str(label), []).append(scored)
    return out


def summary(folds: Sequence[Fold]) -> dict[str, dict[str, Any]]:
    """Headline of each row: means over folds, `nmse_sd`, and the total's nMSE as `total_nmse`."""
    scored = [fold_scores(fold.forecasts) for fold in folds]
    out = {}
    for row, information in rows_of(folds).items():
        last = [fold[row]["increment"][-1] for fold in scored]
        totals = [
            fold[row]["total"][-1]["nmse"] if "total" in fold[row] else None for fold in scored
        ]
        own: dict[str, Any] = {"information": information}
        for key in ("nmse", "src", "mae", "coverage", "width"):
            own[key] = mean([line[key] for line in last])
        own["nmse_sd"] = spread([line["nmse"] for line in last])
        own["total_nmse"] = mean(totals)
        own["crps"] = mean([fold.result.get("crps", {}).get(row) for fold in folds])
        out[row] = own
    return out


def headline_errors(folds: Sequence[Fold]) -> tuple[list[str], np.ndarray]:
    """Each video's part in the headline nMSE of each row.

    Returns
    -------
    rows : list of str
    errors : ndarray, shape (V, R)
        Sums over all videos are the rows' nMSE, averaged over the folds. A video that is tested in
        several folds is one line.
    """
    rows = list(rows_of(folds))
    parts = []
    for fold in folds:
        own = headline(fold.forecasts)
        y = own.filter(pl.col("row") == rows[0])["y"].to_numpy()
        scale = 1 / (np.var(y) * len(y) * len(folds))
        part = ((pl.col("y_hat") - pl.col("y")) ** 2 * scale).alias("part")
        parts.append(own.select("video_id", "row", part))
    wide = (
        pl.concat(parts)
        .group_by("video_id", "row")
        .agg(pl.col("part").sum())
        .pivot(on="row", index="video_id", values="part")
        .sort("video_id")
    )
    return rows, wide.select(rows).to_numpy()


def ratios(folds: Sequence[Fold], resamples: int = RESAMPLES) -> dict[str, dict[str, list[float]]]:
    """nMSE of every row over that of each rival, and of M3TR over that of every row.

    Returns
    -------
    dict
        `{row: {other: [ratio, lo, hi]}}`, paired.
    """
    rows, errors = headline_errors(folds)
    totals = errors.sum(0)
    drawn = Bootstrap(len(errors), resamples).means(errors)
    out: dict[str, dict[str, list[float]]] = {}
    for j, row in enumerate(rows):
        for rival in rows if row == OURS else (r for r in RIVALS if r in rows):
            k = rows.index(rival)
            lo, hi = interval(drawn[:, j] / drawn[:, k])
            out.setdefault(row, {})[rival] = [float(totals[j] / totals[k]), lo, hi]
    return out


def groups(folds: Sequence[Fold], rows: Sequence[str]) -> list[dict[str, Any]]:
    """Error in groups of test videos, at every horizon.

    The squared error of a group is divided by the variance of its fold's whole test part.

    Returns
    -------
    list of dict
        `group` (all, age, class, forecast, seen, creator), `level`, `horizon_days`, `n`, `nmse`
        by row, and M3TR's `coverage`.
    """
    told = pl.concat([_told(fold, i, rows) for i, fold in enumerate(folds)])
    out = []
    for (horizon,), part in told.group_by("horizon", maintain_order=True):
        days = float(np.median(part["horizon_days"].to_numpy()))
        videos = part.filter(pl.col("row") == OURS)
        for group, level, inside in _levels(videos):
            own = part.join(inside, on=["fold", "video_id"], how="semi")
            errors = dict(own.group_by("row").agg(pl.col("error").mean()).iter_rows())
            ours = own.filter(pl.col("row") == OURS)
            covered = (ours["y"] >= ours["lo"]) & (ours["y"] <= ours["hi"])
            out.append(
                {"group": group, "level": level, "horizon": horizon, "horizon_days": days}
                | {"n": ours.height, "nmse": {row: errors[row] for row in rows}}
                | {"coverage": covered.mean()}
            )
    return out


def across(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """M3TR's nMSE over that of each row, over all tasks that have both.

    Parameters
    ----------
    tasks : mapping
        By name: `rows` (`summary`), `ratios`, and whether the task is `simulated`.

    Returns
    -------
    dict
        `{row: {tasks, geometric, real, arithmetic, better, clearly_better, clearly_worse}}`: how
        many tasks; the geometric mean of the ratio over all and over those that are not simulated,
        the arithmetic one; in how many M3TR is better, and where the interval is below or above 1.
    """
    out = {}
    every = dict.fromkeys(row for task in tasks.values() for row in task["rows"])
    for row in (r for r in every if r not in (OURS, *NOT_FORECASTERS)):
        both = [t for t in tasks.values() if {row, OURS} <= {*t["rows"]}]
        if not both:
            continue
        found = np.array([t["rows"][OURS]["nmse"] / t["rows"][row]["nmse"] for t in both])
        real = found[[not t["simulated"] for t in both]]
        bounds = np.array([t["ratios"][OURS][row][1:] for t in both])
        out[row] = {
            "tasks": len(found),
            "geometric": float(np.exp(np.log(found).mean())),
            "real": float(np.exp(np.log(real).mean())) if len(real) else None,
            "arithmetic": float(found.mean()),
            "better": int((found < 1).sum()),
            "clearly_better": int((bounds[:, 1] < 1).sum()),
            "clearly_worse": int((bounds[:, 0] > 1).sum()),
        }
    return out


def headline(forecasts: pl.DataFrame) -> pl.DataFrame:
    """Forecasts of the increment at the last horizon."""
    own = forecasts.filter(pl.col("label") == "increment")
    return own.filter(pl.col("horizon") == pl.col("horizon").max())


def mean(values: Sequence[float | None]) -> float | None:
    """Mean; None where a value is not defined."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def spread(values: Sequence[float | None]) -> float | None:
    """Standard deviation of a sample; None where it or a value is not defined."""
    known = [v for v in values if v is not None]
    return float(np.std(known, ddof=1)) if len(known) == len(values) > 1 else None


def _told(fold: Fold, i: int, rows: Sequence[str]) -> pl.DataFrame:
    """Forecasts of increments with each video's groups and its error over the fold's variance."""
    own = fold.forecasts.filter(pl.col("label") == "increment", pl.col("row").is_in(list(rows)))
    variance = pl.col("y").var(ddof=0).over("row", "horizon")
    own = own.with_columns(
        fold=pl.lit(i), error=(pl.col("y_hat") - pl.col("y")) ** 2 / variance
    ).join(fold.videos, on="video_id", how="left", maintain_order="left")
    return own.with_columns(pl.col("new_creator").cast(pl.Boolean))


def _levels(videos: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Groups of the videos at one horizon; one with fewer than five is left out."""
    age = videos["age_days"].to_numpy()
    bands = _bands(age, AGE_BANDS) if age.max() > 1.01 * age.min() else []
    forecast = _bands(videos["y_hat"].to_numpy(), DECILES)
    named = [("all", "all", np.ones(videos.height, bool))]
    named += [("age", f"{lo:.1f} to {hi:.1f} d", inside) for lo, hi, inside in bands]
    classes = videos["class"].drop_nulls().unique().sort().to_list()
    named += [("class", name, (videos["class"] == name).to_numpy()) for name in classes]
    named += [
        ("forecast", f"{k}: {lo:.1f} to {hi:.1f}", inside)
        for k, (lo, hi, inside) in enumerate(forecast, 1)
    ]
    flags = (("seen", "unseen", "nothing seen"), ("creator", "new_creator", "new creator"))
    for group, column, word in flags:
        flag = videos[column].fill_null(False).to_numpy()
        if 0 < flag.sum() < len(flag):
            named += [(group, word, flag), (group, f"not {word}", ~flag)]
    for group, level, inside in named:
        if inside.sum() >= MIN_GROUP:
            yield group, level, videos.filter(pl.Series(inside)).select("fold", "video_id")


def _bands(x: np.ndarray, n: int) -> list[tuple[float, float, np.ndarray]]:
    """`n` bands of equally many of `x` (N,): least, greatest, who is inside."""
    rank = np.argsort(np.argsort(x, kind="stable"), kind="stable")
    band = rank * n // max(len(x), 1)
    every = [band == k for k in range(n)]
    return [(float(x[i].min()), float(x[i].max()), i) for i in every if i.any()]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
