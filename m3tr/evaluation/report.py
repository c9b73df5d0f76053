"""report.html: the results, the charts and what was retrieved, as one self-contained page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.evaluation import charts, page
from m3tr.evaluation.explained import card
from m3tr.evaluation.explanation import Explanation
from m3tr.evaluation.markdown import LABELS, Header, number, ranged
from m3tr.evaluation.table import OURS, Results

MAX_EXPLAINED = 8


def render(
    scores: Results,
    predictions: pl.DataFrame,
    header: Header,
    explained: Sequence[Explanation] = (),
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """The page as HTML; arguments as for `write_report`."""
    from markupsafe import Markup

    row = OURS if OURS in predictions["row"].unique() else predictions["row"][-1]
    labels = []
    for label, title in LABELS.items():
        own = scores.headline(label)
        if own.is_empty():
            continue
        lines = [_line(line) for line in own.iter_rows(named=True)]
        pictures = [
            {"title": p["title"], "note": p["note"], "svg": Markup(p["svg"])}
            for p in _charts(scores, predictions, label, row)
        ]
        labels.append({"title": title, "rows": lines, "charts": pictures})
    return page.render(
        "report",
        title=f"Results on {header.dataset}",
        random=header.split != "temporal",
        header=header.lines(scores),
        tiles=_tiles(scores, row),
        labels=labels,
        explained=[card(e, str(i)) for i, e in enumerate(explained[:MAX_EXPLAINED])],
        provenance=provenance or {},
    )


def write_report(
    path: Path,
    scores: Results,
    predictions: pl.DataFrame,
    header: Header,
    explained: Sequence[Explanation] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the page to `path`; it loads nothing from elsewhere and has no script.

    Parameters
    ----------
    path : Path
    scores : Results
    predictions : DataFrame
        What `scores` was made from.
    header : Header
    explained : sequence of Explanation
        The first eight are shown.
    provenance : mapping
        Name and value of each line of the provenance block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = render(scores, predictions, header, explained, provenance)
    path.write_text(text, encoding="utf-8")


def _charts(scores: Results, predictions: pl.DataFrame, label: str, row: str) -> list[dict]:
    svg, shown = charts.scatter(predictions, label, row)
    some = f"{shown} of {scores.n_test} test videos, drawn at random"
    note = some if shown < scores.n_test else f"All {shown} test videos"
    pictures = [{"title": f"{row}: forecast against outcome", "svg": svg, "note": f"{note}."}]
    if len(scores.horizon_days) > 1:
        pictures.append(
            {
                "title": "nMSE by horizon",
                "svg": charts.by_horizon(scores, label),
                "note": "Lower is better; bars are 95 % intervals.",
            }
        )
    for group, name in (("class", "trajectory class"), ("age", "observation age")):
        drawn = charts.by_group(scores, label, group)
        if drawn is not None:
            own = scores.select(label, group).select("level", "n").unique(maintain_order=True)
            sizes = ", ".join(f"{level} ({n})" for level, n in own.iter_rows())
            note = f"Error over the variance of the whole test set. Videos: {sizes}."
            pictures.append({"title": f"nMSE by {name}", "svg": drawn, "note": note})
    drawn = charts.coverage_by_decile(scores, label, row)
    if drawn is not None:
        note = "Share of outcomes inside the interval, lowest forecasts first. Dotted: nominal."
        title = f"{row}: coverage by decile of the forecast"
        pictures.append({"title": title, "svg": drawn, "note": note})
    return pictures


def _line(line: dict[str, Any]) -> dict[str, Any]:
    cells = []
    for key in ("nmse", "src", "mae", "precision_top20", "skill", "difference", "crps"):
        text, _, rest = ranged(line, key).partition(" ") if f"{key}_lo" in line else (
            number(line[key]), "", ""
        )  # fmt: skip
        cells.append((text, rest))
    cells += [(number(line[k]), "") for k in ("coverage", "width")]
    return {
        "row": line["row"],
        "information": line["information"],
        "cells": cells,
        "ours": line["row"] == OURS,
    }


def _tiles(scores: Results, row: str) -> list[tuple[str, str]]:
    """The headline scores of one row, as (name, value)."""
    own = scores.headline("increment").filter(pl.col("row") == row)
    if own.is_empty():
        return []
    line = own.row(0, named=True)
    named = (("nMSE", "nmse"), ("SRC", "src"), ("MAE, log2", "mae"), ("skill", "skill"))
    tiles = [(f"{row}: {name}", number(line[key])) for name, key in named]
    if math.isfinite(line["coverage"]):
        nominal = f" of {100 * scores.nominal:.3g} % intervals" if scores.nominal else ""
        tiles.append((f"{row}: coverage{nominal}", number(line["coverage"])))
        tiles.append((f"{row}: CRPS, log2", number(line["crps"])))
    return tiles
