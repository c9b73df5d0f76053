"""An explanation on a page, in a terminal, and as plain records."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.evaluation import charts, page
from m3tr.evaluation.explanation import Curve, Explanation
from m3tr.memory.explain import parts

WIDTH = 28  # of a title in a terminal


def card(each: Explanation, name: str) -> dict[str, Any]:
    """What the page's template shows of an explanation; `name` tells its picture from others."""
    from markupsafe import Markup

    named = parts(each.table)
    weights = [_weight(each.table, part) for part in named]
    return {
        "video_id": each.video_id,
        "title": each.title,
        "frames": _sources(each, each.video_id),
        "notes": notes(each),
        "svg": Markup(charts.trajectories(each.curve, each.neighbours, _totals(each), name)),
        "parts": list(zip(named, weights, strict=True)),
        "leads": [f"+{lead:.3g} d" for lead in each.leads],
        "own": _outcomes(each.outcome),
        "forecast": _outcomes(each.forecast),
        "rows": [_row(each, line, named) for line in each.table.iter_rows(named=True)],
    }


def write_page(path: Path, each: Explanation) -> None:
    """One self-contained page about one video, put in place at once."""
    title = f"What was retrieved for {each.video_id}"
    text = page.render("explanation", title=title, explained=card(each, "0"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def notes(each: Explanation) -> list[str]:
    """What the numbers must be read with, in sentences."""
    clock = f"{each.observed_at:%Y-%m-%d %H:%M} UTC"
    told = [f"Forecast at {clock}, at an age of {each.age_days:.3g} d."]
    if each.causal:
        told.append("Every neighbour's outcome was known by then.")
    else:
        told.append("The split is random: a neighbour's outcome may be of a later time.")
    if each.table.height and not each.table["weight.trajectory"][0]:
        told.append("Its trajectory is not compared.")
    elif abs(each.compared_days - each.age_days) > 1e-6:  # not where one is NaN
        told += [
            f"Trajectories are compared as they were at an age of {each.compared_days:.3g} d.",
            "Growth counts from the clock for this video, from their observation for neighbours.",
        ]
    if each.outcome is None:
        told.append("The video's own later life is not over.")
    if each.remembered:
        told.append("The video is itself an item of the bank, and is not shown to itself.")
    if each.fitted:
        told.append("The video took part in the fit: its forecast is no forecast of a new one.")
    return told


def records(table: pl.DataFrame) -> list[dict[str, Any]]:
    """The table as JSON objects; times are ISO 8601."""
    lines = table.iter_rows(named=True)
    return [
        {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in r.items()} for r in lines
    ]


def lines(table: pl.DataFrame, leads: Sequence[float]) -> str:
    """The neighbours of one query as an aligned table for a terminal."""
    named = parts(table)
    titled = "title" in table.columns
    head = ["#", "neighbour", *(["title"] if titled else []), "known at", "score"]
    head += [*named, "content", *(f"+{lead:.3g}d" for lead in leads)]
    weights = ["", "weight", *([""] if titled else []), "", ""]
    weights += [*(f"x{_weight(table, part)}" for part in named), "", *[""] * len(leads)]
    rows = [head, weights]
    for line in table.iter_rows(named=True):
        row = [str(line["rank"]), _cut(line["video_id"])]
        row += [_cut(line["title"] or "")] if titled else []
        row += [f"{line['known_at']:%Y-%m-%d}", f"{line['score']:.3f}"]
        row += [_cosine(line[f"cosine.{part}"]) for part in named]
        row += [
            f"{line['content']:.2f}",
            *(f"{value:.2f}" for value in line.get("increment") or []),
        ]
        rows.append(row)
    left = 3 if titled else 2
    wide = [max(len(row[c]) for row in rows if c < len(row)) for c in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if 0 < c < left else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(row, wide, strict=False))
        ).rstrip()
        for row in rows
    )


def _row(each: Explanation, line: dict[str, Any], named: list[str]) -> dict[str, Any]:
    return {
        "rank": line["rank"],
        "video_id": line["video_id"],
        "title": line.get("title") or "",
        "frames": _sources(each, line["video_id"]),
        "known_at": f"{line['known_at']:%Y-%m-%d}",
        "score": f"{line['score']:.3f}",
        "content": f"{line['content']:.2f}",
        "parts": [(_cosine(line[f"cosine.{p}"]), f"{line[f'points.{p}']:+.3f}") for p in named],
        "outcome": _outcomes(line.get("increment")),
    }


def _totals(each: Explanation) -> Curve:
    """The forecast as cumulative counts at the ages of the horizons."""
    seen = float(np.interp(each.age_days, each.curve.ages, each.curve.counts))
    ages = [each.age_days + lead for lead in each.leads]
    return Curve(ages, [seen + 2**value - 1 for value in each.forecast], each.age_days)


def _weight(table: pl.DataFrame, part: str) -> str:
    # one query's: the same in every row
    return f"{table[f'weight.{part}'][0]:.3f}" if table.height else ""


def _cosine(value: float) -> str:
    return f"{value:.2f}" if value else "-"  # exactly 0: one of the two lacks it


def _outcomes(increment: Sequence[float] | None) -> list[tuple[str, str]]:
    """By horizon the increment in log2 units, and as a count."""
    return [(f"{v:.2f}", f"{np.exp2(v) - 1:,.0f}") for v in increment or []]


def _sources(each: Explanation, video: str) -> list[str]:
    return [
        "data:image/jpeg;base64," + base64.b64encode(picture).decode()
        for picture in each.frames.get(video, ())
    ]


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= WIDTH else plain[: WIDTH - 1] + "…"
