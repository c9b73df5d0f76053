"""How good are the forecasts? Every row of the results table on one dataset, side by side."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workspaces import (
    NAMES,
    QUICK_VIDEOS,
    REAL,
    merged,
    settings_of,
    workspace_of,
    write_settings,
)
from m3tr.errors import InputError
from m3tr.stages import STAGES

# what the figures depend on; validation and registration change none of them
FIRST = ("ingest", "features")
EACH = ("ingest", "trajectories", "bank", "train", "evaluate")
METRICS = ("nmse", "src", "mae")
OURS, RIVAL = "M3TR", "LightGBM CF"

Scores = dict[str, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--dataset", choices=NAMES, default="sample")
    parser.add_argument("--splits", type=int, default=1, help="repetitions (see docs)")
    parser.add_argument("--keep", type=Path, help="workspace to keep, instead of a temporary one")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Score the dataset; `{dataset: {row: {nmse, src, mae, information}}}`.

    The figures are those of the increment at the last horizon (docs/model.md, section 7), means
    over the repetitions. A repetition draws another random split; under the temporal split, of
    which there is one, it is another training seed. With more than one, `nmse_sd` and `src_sd`
    are added, and `ratio` lists M3TR's nMSE over that of LightGBM CF by repetition.
    """
    if options.splits < 1:
        raise InputError(f"--splits {options.splits}: there must be at least one")
    settings = settings_of(options.dataset, options.quick)
    random = settings["task"].get("split", "temporal") == "random"
    repetitions = []
    with workspace_of(options.dataset, options.keep, options.quick) as workspace:
        for i in range(options.splits):
            drawn = repeated(settings, i, random)
            write_settings(workspace, drawn)
            for stage in (*FIRST, *EACH[1:]) if i == 0 else EACH:
                start = time.monotonic()
                STAGES[stage](workspace)
                print(f"{stage}: {time.monotonic() - start:.1f} s", file=sys.stderr)
            repetitions.append(scores(workspace))
    print(heading(options, settings, random))
    print(table(repetitions))
    return {options.dataset: summary(repetitions)}


def repeated(settings: dict[str, Any], i: int, random: bool) -> dict[str, Any]:
    """The settings of repetition `i`: another split, or another training seed."""
    if random:
        return merged(settings, {"task": {"seed": settings["task"].get("seed", 7) + i}})
    return settings | {"seed": settings.get("seed", 7) + i}


def scores(workspace: Path) -> Scores:
    """Headline scores by row of the last evaluation."""
    rows = json.loads((workspace / "reports" / "results.json").read_text())
    keep = (*METRICS, "information", "nmse_lo", "nmse_hi")
    return {row: {key: scored[key] for key in keep} for row, scored in rows.items()}


def summary(repetitions: list[Scores]) -> Scores:
    """Means over the repetitions, with their spread where there are several."""
    out: Scores = {}
    for row, scored in repetitions[0].items():
        values = {m: [r[row][m] for r in repetitions] for m in METRICS}
        out[row] = {m: mean(v) for m, v in values.items()} | {"information": scored["information"]}
        if len(repetitions) > 1:
            out[row] |= {f"{m}_sd": spread(values[m]) for m in ("nmse", "src")}
    if len(repetitions) > 1:
        out[OURS]["ratio"] = ratios(repetitions)
    return out


def ratios(repetitions: list[Scores]) -> list[float]:
    """nMSE of M3TR over that of LightGBM CF, by repetition."""
    return [r[OURS]["nmse"] / r[RIVAL]["nmse"] for r in repetitions]


def mean(values: list[float | None]) -> float | None:
    """Mean; None where a score is not defined."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def spread(values: list[float | None]) -> float | None:
    """Standard deviation of a sample; None where a score is not defined."""
    known = [v for v in values if v is not None]
    return float(np.std(known, ddof=1)) if len(known) == len(values) else None


def heading(options: argparse.Namespace, settings: dict[str, Any], random: bool) -> str:
    """What the table shows."""
    group = settings["task"].get("group_by")
    split = f"random split{f' by {group}' if group else ''}" if random else "temporal split"
    kind = "splits" if random else "training seeds"
    times = f", {options.splits} {kind}" if options.splits > 1 else ""
    some = f" and {QUICK_VIDEOS} videos" if options.dataset in REAL else ""
    quick = f", quick settings{some}" if options.quick else ""
    return f"{options.dataset}: {split}{times}{quick}; increment at the last horizon"


def table(repetitions: list[Scores]) -> str:
    """The scores as text, a line a row; brackets hold bootstrap intervals, +- the spread."""
    several = len(repetitions) > 1
    rival = np.mean([r[RIVAL]["nmse"] for r in repetitions])
    lines = [f"{'row':20} {'info':5} {'nMSE':22} {'SRC':>6} {'MAE':>6} {'/ ' + RIVAL:>14}"]
    for row, s in summary(repetitions).items():
        first = repetitions[0][row]
        beside = (
            f"+- {s['nmse_sd']:.4f}"
            if several
            else f"[{number(first['nmse_lo'])}, {number(first['nmse_hi'])}]"
        )
        nmse = f"{number(s['nmse'])} {beside}"
        ratio = f"{s['nmse'] / rival:.3f}"
        lines.append(
            f"{row:20} {s['information']:5} {nmse:22} {number(s['src'])} {number(s['mae'])} "
            f"{ratio:>14}"
        )
    if several:
        each = ratios(repetitions)
        listed = ", ".join(f"{r:.3f}" for r in each)
        lines.append(
            f"{OURS} / {RIVAL} by repetition: {listed}; mean {np.mean(each):.3f}, "
            f"standard deviation {np.std(each, ddof=1):.3f}"
        )
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Four decimals in six places, a dash for what is not defined."""
    return f"{'-':>6}" if value is None else f"{value:6.4f}"
