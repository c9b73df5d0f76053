"""Charts of the report page as inline SVG whose colours follow the page's theme."""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from m3tr.evaluation.table import OURS, Results

if TYPE_CHECKING:
    from m3tr.evaluation.explanation import Curve

# drawn in these and replaced by the page's variables, so that dark mode needs no second picture
THEME = {
    "#010203": "currentColor",
    "#010204": "var(--faint)",
    "#010205": "var(--accent)",
    "#010206": "var(--second)",
    "#010207": "var(--third)",
    "#010208": "var(--fourth)",
}
INK, FAINT, ACCENT, SECOND, THIRD, FOURTH = THEME
MAX_POINTS = 1200
MAX_LINES = ("last count", "ridge", "LightGBM CF", OURS)
STYLES = {"last count": (FAINT, ":"), "ridge": (THIRD, "-."), "LightGBM CF": (SECOND, "--")}


def _svg(draw: Callable[[Any], None], name: str, size: tuple[float, float] = (4.6, 3.2)) -> str:
    """Draw on one pair of axes; the SVG element without prologue, metadata or fixed size."""
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: no global state, no display
    from matplotlib.ticker import MaxNLocator

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,  # ids must differ between the pictures of one page
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.family": "sans-serif",
        "legend.frameon": False,
        "legend.fontsize": 9,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.xaxis.set_major_locator(MaxNLocator(5))
        draw(axes)
        if axes.get_legend_handles_labels()[1]:
            figure.legend(loc="outside upper left", ncols=6, handlelength=1.6, columnspacing=1.2)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?)\s(width="[^"]*pt")', r"\1", text)
    text = re.sub(r'(<svg[^>]*?)\s(height="[^"]*pt")', r"\1", text)
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    return text.replace("<svg", '<svg role="img"', 1)


def scatter(predictions: pl.DataFrame, label: str, row: str) -> tuple[str, int]:
    """Forecast against truth at the last horizon; the SVG and how many videos it shows."""
    own = predictions.filter((pl.col("label") == label) & (pl.col("row") == row))
    own = own.filter(pl.col("horizon") == own["horizon"].max()).sort("video_id")
    if own.height > MAX_POINTS:
        own = own.sample(MAX_POINTS, seed=0)
    y, y_hat = own["y"].to_numpy(), own["y_hat"].to_numpy()

    def draw(axes: Any) -> None:
        ends = [min(y.min(), y_hat.min()), max(y.max(), y_hat.max())]
        axes.plot(ends, ends, color=FAINT, lw=1)
        axes.scatter(y_hat, y, s=7, color=ACCENT, alpha=0.45, linewidths=0)
        axes.set(xlabel="forecast, log2(1 + count)", ylabel="outcome, log2(1 + count)")

    return _svg(draw, f"scatter {label} {row}"), own.height


def by_horizon(scores: Results, label: str) -> str:
    """nMSE of M3TR and the main baselines by horizon, with 95 % intervals."""
    own = scores.select(label, "all")

    def draw(axes: Any) -> None:
        for row in _lines(own):
            part = own.filter(pl.col("row") == row).sort("horizon")
            colour, dash = STYLES.get(row, (ACCENT, "-"))
            x = part["horizon_days"].to_numpy()
            axes.plot(x, part["nmse"], dash, color=colour, marker="o", ms=3.5, label=row)
            lo, hi = part["nmse_lo"].to_numpy(), part["nmse_hi"].to_numpy()
            if np.isfinite(lo).all():
                axes.vlines(x, lo, hi, color=colour, lw=1)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="horizon, days of age", ylabel="nMSE")

    return _svg(draw, f"horizon {label}")


def by_group(scores: Results, label: str, group: str) -> str | None:
    """nMSE of M3TR and the main baselines by trajectory class or age; None where not scored."""
    own = scores.select(label, group)
    own = own.filter(pl.col("horizon") == len(scores.horizon_days) - 1)
    if own.is_empty():
        return None
    levels = own["level"].unique(maintain_order=True).to_list()

    def draw(axes: Any) -> None:
        rows = _lines(own)
        for j, row in enumerate(rows):
            part = {line["level"]: line for line in own.iter_rows(named=True) if line["row"] == row}
            place = np.arange(len(levels)) + (j - (len(rows) - 1) / 2) * 0.8 / len(rows)
            values = [part[v]["nmse"] for v in levels]
            colour = STYLES.get(row, (ACCENT, ""))[0]
            axes.barh(place, values, height=0.72 / len(rows), color=colour, label=row)
            lo, hi = ([part[v][k] for v in levels] for k in ("nmse_lo", "nmse_hi"))
            axes.hlines(place, lo, hi, color=INK, lw=0.8)
        axes.set_yticks(range(len(levels)), levels)
        axes.invert_yaxis()
        axes.set(xlabel="nMSE")

    return _svg(draw, f"{group} {label}", (4.6, 1.0 + 0.55 * len(levels)))


def coverage_by_decile(scores: Results, label: str, row: str) -> str | None:
    """Coverage of a row's intervals by decile of its forecasts; None where it has none."""
    own = scores.select(label, "decile").filter(
        pl.col("row") == row, pl.col("horizon") == len(scores.horizon_days) - 1
    )
    if not own["coverage"].is_finite().any():
        return None

    def draw(axes: Any) -> None:
        if scores.nominal is not None:
            axes.axhline(scores.nominal, color=FAINT, lw=1, ls=":")
        axes.plot(range(1, own.height + 1), own["coverage"], "o", ms=5, color=ACCENT)
        axes.set(xlabel="decile of the forecast", ylabel="coverage", ylim=(0, 1.03))

    return _svg(draw, f"coverage {label}", (4.6, 2.6))


def trajectories(
    query: "Curve", neighbours: Sequence["Curve"], forecast: "Curve", name: str
) -> str:
    """Cumulative curves of a video and of its neighbours, best first; circles are the forecast.

    Solid as far as they were looked at, dashed where they were known to go on, dotted where the
    query went on unknown to its forecast. The best neighbours have colours, the others are faint.
    """
    coloured = (SECOND, THIRD, FOURTH)

    def curve(axes: Any, each: "Curve", after: str, **style: Any) -> None:
        x, y = np.asarray(each.ages, float), np.log2(1 + np.asarray(each.counts, float))
        label = style.pop("label")
        for part, dash in ((x <= each.seen, "-"), (x >= each.seen, after)):
            if part.sum() > 1:
                axes.plot(x[part], y[part], dash, label=label, **style)
                label = None

    def draw(axes: Any) -> None:
        axes.axvline(query.seen, color=FAINT, lw=1)
        curve(axes, query, ":", color=ACCENT, lw=2.2, zorder=4, label="this video")
        for j, each in enumerate(neighbours):
            best, rest = j < len(coloured), f"{len(coloured) + 1} to {len(neighbours)}"
            if len(neighbours) == len(coloured) + 1:
                rest = str(len(neighbours))
            style = (
                {"color": coloured[j], "lw": 1.4}
                if best
                else {"color": FAINT, "lw": 0.8, "alpha": 0.7}
            )
            label = str(j + 1) if best else rest if j == len(coloured) else None
            curve(axes, each, "--", zorder=3 if best else 2, label=label, **style)
        points = np.log2(1 + np.asarray(forecast.counts, float))
        axes.plot(
            forecast.ages, points, "o", ms=5, mfc="none", color=ACCENT, zorder=5, label="forecast"
        )
        axes.set(xlabel="age, days", ylabel="log2(1 + count)")
        axes.set_ylim(bottom=0)

    return _svg(draw, f"trajectories {name}", (6.2, 3.0))


def _lines(own: pl.DataFrame) -> list[str]:
    found = own["row"].unique(maintain_order=True).to_list()
    return [row for row in MAX_LINES if row in found] or found[:4]
