"""results.md: the results table for readers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from m3tr.evaluation.table import OURS, Results

LABELS = {"increment": "Increment, log2(1 + N(a, H])", "total": "Total, log2(1 + N(0, H])"}


@dataclass(frozen=True)
class Header:
    """What a printed number must be read with.

    Attributes
    ----------
    dataset : str
        Name of the dataset.
    target : str
        The kind that is forecast.
    split : {"temporal", "random"}
    group_by : str or None
        Column whose groups stay whole under the random split.
    clock : str
        The observation clock in words; by default the observation ages of the results.
    """

    dataset: str
    target: str
    split: str = "temporal"
    group_by: str | None = None
    clock: str | None = None
    embargo: bool = True

    def split_in_words(self) -> str:
        """The split, and what it means for the numbers."""
        if self.split == "temporal":
            unknown = "" if self.embargo else ", no embargo: outcomes not yet known were trained on"
            return f"temporal (the test videos are later than the others{unknown})"
        groups = f", grouped by {self.group_by}" if self.group_by else ""
        return (
            f"random{groups}: test videos were published among the training videos, so these "
            "numbers are not a forecast of later videos and compare with random splits only"
        )

    def lines(self, scores: Results) -> dict[str, str]:
        """Name and value of each line of the header."""
        lo, hi = scores.age_days
        ages = (
            f"age {_days(lo)}"
            if hi - lo <= 0.01 * max(hi, 1e-9)
            else f"ages {lo:.3g} to {hi:.3g} d"
        )
        leads = ", ".join(_days(h) for h in scores.horizon_days)
        drawn = f"95 % percentile bootstrap over test videos, {scores.bootstrap} resamples, paired"
        return {
            "Dataset": self.dataset,
            "Target": self.target,
            "Split": self.split_in_words(),
            "Test videos": str(scores.n_test),
            "Observed until": f"{self.clock} ({ages})" if self.clock else ages,
            "Horizon ages": leads + (" (medians)" if hi - lo > 0.01 * max(hi, 1e-9) else ""),
            "Intervals": drawn if scores.bootstrap else "none (bootstrap is 0)",
        }


def to_markdown(scores: Results, header: Header, batched: bool = False) -> str:
    """The results as Markdown: headline per label, then by horizon, class, age and decile.

    Parameters
    ----------
    scores : Results
    header : Header
    batched : bool
        Also print the averages over batches of 256, labelled as such.
    """
    parts = ["# Results\n"]
    parts.append("\n".join(f"- {k}: {_cell(v)}" for k, v in header.lines(scores).items()) + "\n")
    nominal = f"; intervals of {100 * scores.nominal:.3g} %" if scores.nominal else ""
    parts.append(
        "Information: C content, F feedback up to the observation age, CF both, CFR both with "
        "retrieval. nMSE is over the whole test set; lower is better. MAE is in log2 units. Skill "
        f"is against last count. Difference: nMSE minus that of {OURS}, same resamples. CRPS, "
        f"coverage and width are of the predictive distributions{nominal}.\n"
    )
    last = scores.horizon_days[-1]
    for label, title in LABELS.items():
        if scores.headline(label).is_empty():
            continue
        parts.append(f"## {title}\n\n### At the last horizon, {_days(last)}\n")
        parts.append(_headline(scores.headline(label), batched))
        if len(scores.horizon_days) > 1:
            parts.append("### nMSE by horizon\n")
            everyone = scores.select(label, "all").with_columns(
                level=pl.col("horizon_days").map_elements(_days, return_dtype=pl.String)
            )
            parts.append(_wide(everyone))
        for group, name in (("class", "trajectory class"), ("age", "observation age")):
            own = scores.select(label, group).filter(pl.col("horizon_days") == last)
            if not own.is_empty():
                parts.append(f"### nMSE by {name}, at the last horizon\n")
                parts.append(_wide(own, sizes=True))
        own = scores.select(label, "decile").filter(pl.col("horizon_days") == last)
        if own["coverage"].is_finite().any():
            parts.append("### Coverage by decile of the row's own forecasts, at the last horizon\n")
            parts.append(_wide(own, show=lambda line: number(line["coverage"])))
    return "\n".join(parts)


def _headline(own: pl.DataFrame, batched: bool) -> str:
    names = ["Row", "Information", "nMSE [95 % CI]", "SRC [95 % CI]", "MAE", "Top 20 %", "Skill"]
    names += ["Difference [95 % CI]", "CRPS [95 % CI]", "Coverage", "Width"]
    names += ["nMSE, batches of 256", "SRC, batches of 256"] if batched else []
    lines = []
    for line in own.iter_rows(named=True):
        cells = [_bold(line["row"]), line["information"], ranged(line, "nmse"), ranged(line, "src")]
        keys = ["mae", "precision_top20", "skill"]
        cells += [number(line[k]) for k in keys] + [ranged(line, "difference")]
        cells += [ranged(line, "crps")]
        cells += [number(line[k]) for k in ("coverage", "width")]
        cells += [number(line[k]) for k in ("nmse_batched", "src_batched")] if batched else []
        lines.append(cells)
    return _grid(names, lines)


def _wide(
    own: pl.DataFrame,
    sizes: bool = False,
    show: Callable[[dict[str, Any]], str] = lambda line: ranged(line, "nmse"),
) -> str:
    """A score, nMSE unless told otherwise, with one column a level."""
    levels = own["level"].unique(maintain_order=True).to_list()
    size = dict(own.select("level", "n").iter_rows())
    names = ["Row", *(f"{v} (n = {size[v]})" if sizes else v for v in levels)]
    cells = {(line["row"], line["level"]): show(line) for line in own.iter_rows(named=True)}
    rows = own["row"].unique(maintain_order=True).to_list()
    return _grid(names, [[_bold(r), *(cells.get((r, v), "–") for v in levels)] for r in rows])


def _grid(names: list[str], lines: list[list[str]]) -> str:
    table = [names, ["---"] * len(names), *lines]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in table) + "\n"


def number(value: float | None) -> str:
    """A score with three decimals, small ones with two significant digits; a dash where NaN."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def ranged(line: dict[str, Any], key: str) -> str:
    """A score with its interval."""
    text = number(line[key])
    if line[key] is None or not math.isfinite(line[f"{key}_lo"]):
        return text
    return f"{text} [{number(line[f'{key}_lo'])}, {number(line[f'{key}_hi'])}]"


def _bold(row: str) -> str:
    return f"**{row}**" if row == OURS else row


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _days(days: float) -> str:
    return f"{days:.3g} d" if days >= 1 else f"{24 * days:.3g} h"
