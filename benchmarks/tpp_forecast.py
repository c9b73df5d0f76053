"""How good are forecasts of counts, and how far off is a plug-in? Retweet cascades after one hour.

The first 80 cascades train (three hours of each), the others are observed for an hour and forecast.
Errors are means of `|log2(1 + forecast) - log2(1 + truth)|`.
"""

import argparse
import time
from typing import Any

import numpy as np
import polars as pl

from benchmarks.tpp_real import retweets
from m3tr import hawkes

OBSERVED, LEADS = 1.0, [0.5, 2.0]  # hours
TRAINING = 80
QUANTILES = (0.05, 0.5, 0.95)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--paths", type=int, default=200, help="simulated paths of each cascade")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """By process and lead: the columns of the table; and `events_per_second` of the paths."""
    log = retweets()
    names = log.windows["sequence"].to_list()
    if options.quick:
        names = names[:30]
    train, test = names[: int(0.8 * len(names))], names[int(0.8 * len(names)) :]
    end = OBSERVED + max(LEADS)
    events = log.events.filter(pl.col("time") <= end)
    past = events.filter(pl.col("time") <= OBSERVED, pl.col("sequence").is_in(test))
    out: dict[str, Any] = {}
    print(f"{len(train)} cascades train, {len(test)} forecast after {OBSERVED} h; hours ahead\n")
    print(f"{'process':10} {'lead':>5} {'plug-in / mean: median, 10 to 90 %':>35} ", end="")
    print(f"{'plug-in':>8} {'mean':>6} {'median':>7} {'within 90 %':>12}")
    for name, context in (("hybrid", True), ("classical", False)):
        settings = hawkes.HawkesSettings(context=context, batch_size=4)
        windows = pl.DataFrame({"sequence": train, "end": end})
        process = hawkes.fit(events.filter(pl.col("sequence").is_in(train)), settings, windows)
        late = pl.DataFrame({"sequence": test, "end": OBSERVED})
        start = time.perf_counter()
        paths = 20 if options.quick else options.paths
        ahead = process.forecast(past, LEADS, late, QUANTILES, paths=paths, seed=0)
        seconds = time.perf_counter() - start
        plug_in = process.forecast(past, LEADS, late, quantiles=())
        simulated = float(ahead.filter(lead=max(LEADS))["mean"].sum()) * paths
        out[name] = {"events_per_second": round(simulated / seconds)}
        for lead in LEADS:
            f = scored(events, ahead.filter(lead=lead), plug_in.filter(lead=lead), lead)
            out[name][str(lead)] = f
            spread = f"{f['ratio']:.2f}, {f['low']:.2f} to {f['high']:.2f}"
            print(f"{name:10} {lead:5.1f} {spread:>35} {f['plug_in']:8.2f} ", end="")
            print(f"{f['mean']:6.2f} {f['median']:7.2f} {f['covered']:12.2f}")
        print(f"{name:10} {out[name]['events_per_second']:,} simulated events a second")
    return out


def scored(
    events: pl.DataFrame, ahead: pl.DataFrame, plug_in: pl.DataFrame, lead: float
) -> dict[str, float]:
    """Errors, coverage and the plug-in over the simulated mean at one lead."""
    later = events.filter(pl.col("time") > OBSERVED, pl.col("time") <= OBSERVED + lead)
    number = later.group_by("sequence").len("truth")
    rows = ahead.join(plug_in.select("sequence", plug="mean"), on="sequence")
    rows = rows.join(number, on="sequence", how="left").with_columns(pl.col("truth").fill_null(0))
    low, middle, high = (rows[f"q{q:g}"].to_numpy() for q in QUANTILES)
    truth, mean, plug = (rows[c].to_numpy().astype(float) for c in ("truth", "mean", "plug"))

    def error(forecast: np.ndarray) -> float:
        return round(float(np.abs(np.log2((1 + forecast) / (1 + truth))).mean()), 3)

    ratio = np.quantile(plug / np.maximum(mean, 1e-9), [0.1, 0.5, 0.9])
    return {
        "plug_in": error(plug),
        "mean": error(mean),
        "median": error(middle),
        "covered": round(float(((low <= truth) & (truth <= high)).mean()), 3),
        "low": round(float(ratio[0]), 2),
        "ratio": round(float(ratio[1]), 2),
        "high": round(float(ratio[2]), 2),
    }
