"""What does a fitted intensity look like over real events? A cascade that was not trained on.

The process of `m3tr.hawkes.fit` on the first hours of the other retweet cascades, followers as
marks; above, the cascade's first hours, below, a few minutes of it, event by event.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.tpp_real import retweets
from m3tr import hawkes

CASCADE = "10"
HOURS = 2.0
ZOOM = (20.0, 25.0)  # minutes
EPOCHS, QUICK_EPOCHS = 20, 2
PARTS = {
    "intensity": ("total", "#1a1a1a", "-"),
    "softplus": ("softplus part", "#c2410c", "-"),
    "classical": ("classical part", "#2563eb", "-"),
    "ungated": ("classical part without its gate", "#93b4f5", "--"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--cascade", default=CASCADE, help="the cascade that is drawn")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the picture")


def run(options: argparse.Namespace) -> dict[str, float]:
    """`{nats, softplus_share, mean_gate, ks_statistic}` of the cascade; a picture with `--plot`."""
    log = retweets()
    windows = log.windows.filter(pl.col("sequence") != options.cascade)
    if options.quick:
        windows = windows.gather_every(8)
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    events = log.events.join(windows, on="sequence", how="semi")
    held = windows.filter(pl.col("split") == "held")["sequence"]
    settings = hawkes.HawkesSettings(epochs=epochs, batch_size=4)
    process = hawkes.fit(events, settings, windows, held=held)
    own = log.events.filter(pl.col("sequence") == options.cascade)
    window = log.windows.filter(pl.col("sequence") == options.cascade)
    times = own.filter(pl.col("time") <= HOURS)["time"].to_numpy()
    # on both sides of every jump, and between
    grid = np.concatenate([np.linspace(1e-6, HOURS, 6000), times[times > 0], times + 1e-9])
    gate = pl.col("background") / float(process.model.mu[0])
    found = process.intensity(own, np.sort(grid), window).with_columns(
        classical=pl.col("background") + pl.col("excitation"), gate=gate
    )
    found = found.with_columns(ungated=pl.col("classical") / pl.col("gate"))
    if options.plot is not None:
        draw(found, times, options.plot)
    figures = {
        "nats": process.log_likelihood(own, window).per_event,
        "softplus_share": _area(found, "softplus") / _area(found, "intensity"),
        "mean_gate": _area(found, "gate") / HOURS,
        "ks_statistic": float(process.residuals(own, window).ks()["statistic"][0]),
    }
    print(f"cascade {options.cascade}: {len(own)} events in {window['end'][0]} hours")
    for name, value in figures.items():
        print(f"{name:15} {value:8.4f}")
    return figures


def _area(found: pl.DataFrame, part: str) -> float:
    return float(np.trapezoid(found[part].to_numpy(), found["time"].to_numpy()))


def draw(found: pl.DataFrame, times: np.ndarray, path: Path) -> None:
    """Two panels: the first hours, smoothed by the minute, and a few minutes as they are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1)
    minute = found["time"].to_numpy() * 60
    near = (minute >= ZOOM[0]) & (minute <= ZOOM[1])
    edges = np.arange(0, HOURS * 60 + 1)
    number = np.histogram(times * 60, edges)[0]
    above.stairs(number, edges, fill=True, color="0.85", label="retweets in the minute")
    for name, (label, color, style) in PARTS.items():
        rate = found[name].to_numpy() / 60  # per minute
        area = np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(minute))])
        mean = np.diff(np.interp(edges, minute, area))
        above.plot(edges[:-1] + 0.5, mean, color=color, linestyle=style, linewidth=1.2, label=label)
        below.plot(minute[near], rate[near], color=color, linestyle=style, linewidth=1.2)
    above.axvspan(*ZOOM, color="#facc15", alpha=0.35, linewidth=0)
    above.set(xlim=(0, HOURS * 60), yscale="log", ylabel="per minute, mean of the minute")
    above.set_ylim(0.1, 1.5 * number.max())
    inside = times[(times * 60 >= ZOOM[0]) & (times * 60 <= ZOOM[1])] * 60
    top = found.select("intensity", "ungated").to_numpy()[near].max() / 60
    below.vlines(inside, -0.09 * top, -0.03 * top, color="0.25", linewidth=0.7)
    below.set(xlim=ZOOM, ylabel="per minute", xlabel="minutes after the first tweet")
    below.set_ylim(-0.12 * top, 1.05 * top)
    above.legend(frameon=False, ncols=2, loc="upper right")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)
