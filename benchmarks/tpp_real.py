"""How likely is held-out feedback, and are its residuals exponential? Real event logs.

Nats per event, higher is better, times in hours, and the Kolmogorov-Smirnov distance of the
time-rescaled residuals from Exp(1), lower is better: its mean over the kinds, weighted by their
events. All rows are scored by one likelihood code on the same test sequences; differences are
paired by sequence.

`THP encoder` reads the history by attention and has no classical part; `attention` is our process
with nothing but the encoder changed. A layer of attention has more parameters than one of the scan:
at width 32 they are as large as ours at 48.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.tpp_taxi import difference
from benchmarks.workspaces import real_data
from m3tr.errors import InputError
from m3tr.hawkes.events import EventBatch, batch, buckets
from m3tr.hawkes.likelihood import log_likelihood
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.residuals import compensator_increments, ks
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.training import fit

OURS = "MambaHawkes"
SCALES = 4  # exponentials of every row
EPOCHS, QUICK_EPOCHS = 20, 2
QUICK_SEQUENCES = 30
RESAMPLES = 10_000
ROWS: dict[str, dict[str, Any]] = {
    "Poisson": {"classical": False, "context": False},
    "Hawkes": {"context": False},
    "THP encoder": {"encoder": "transformer", "classical": False},
    "attention": {"encoder": "transformer"},
    OURS: {"width": 48},
}
PARTS: dict[str, dict[str, Any]] = {  # ours without one of its parts
    "-gate": {"width": 48, "gate": False},
    "-spline": {"width": 48, "knots": 1},  # the argument of the softplus is one line
    "-classical": {"width": 48, "classical": False},
}


class Log(NamedTuple):
    """An event log: its windows in hours, and its split."""

    events: pl.DataFrame  # sequence, time, kind[, count]
    windows: pl.DataFrame  # sequence, end, split
    batch_size: int


class Score(NamedTuple):
    """A row's score on the test sequences."""

    nll: np.ndarray  # of each sequence, nats
    ks: float
    parameters: int
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--dataset", choices=[*LOGS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", action="store_true", help="ours beside ours without a part")
    parser.add_argument("--epochs", type=int, default=EPOCHS)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """`{dataset: {row: {nats, ks, difference, interval, parameters, seconds}}}`.

    `difference` is the row's log likelihood per event less ours, negative where ours is better.
    """
    names = list(LOGS) if options.dataset == "all" else [options.dataset]
    out: dict[str, Any] = {}
    for name in names:
        log = LOGS[name]()
        if options.quick:
            log = log._replace(
                windows=log.windows.gather_every(-(-log.windows.height // QUICK_SEQUENCES))
            )
        epochs = QUICK_EPOCHS if options.quick else options.epochs
        rows = {OURS: ROWS[OURS]} | PARTS if options.parts else ROWS
        figures = compared(log, rows, epochs, options.seed)
        out[name] = figures
        print(table(name, log, figures))
    return out


def weibo() -> Log:
    """Six hours of each post; split in time 70 / 10 / 20; seconds made continuous."""
    videos, feedback = read("weibo-ced", "videos"), read("weibo-ced", "feedback")
    since = (pl.col("time") - pl.col("published_at")).dt.total_seconds(fractional=True) / 3600
    rows = feedback.join(videos.select("video_id", "published_at"), on="video_id").select(
        since.alias("time"), "kind", sequence="video_id"
    )
    events = continuous(rows.filter(pl.col("time") > 0), 1 / 3600).filter(pl.col("time") <= 6)
    order = videos.sort("published_at", "video_id").select(sequence="video_id")
    return Log(events, in_order(order, events, end=6.0), batch_size=32)


def kuaishou() -> Log:
    """Videos with 15 or more events, from the first on to the end of the log; random split."""
    rows = read("kuaishou-kuairand", "feedback").rename({"video_id": "sequence"})
    enough = rows.group_by("sequence").len().filter(pl.col("len") >= 15)
    rows = rows.join(enough, on="sequence", how="semi")
    first = pl.col("time").min().over("sequence")
    hours = (pl.col("time") - first).dt.total_microseconds() / 3.6e9
    last = pl.col("time").max()
    windows = (
        rows.group_by("sequence")
        .agg(first=pl.col("time").min())
        .with_columns(end=(rows.select(last).item() - pl.col("first")).dt.total_microseconds())
        .select("sequence", end=pl.col("end") / 3.6e9)
        .sort("sequence")
        .sample(fraction=1.0, shuffle=True, seed=0)
    )
    return Log(rows.select("sequence", "kind", time=hours), with_split(windows), batch_size=32)


def retweets() -> Log:
    """Six hours of each cascade, followers as marks; random split; seconds made continuous."""
    rows = read("retweets", "events").select(
        sequence=pl.col("cascade").cast(pl.String),
        time=pl.col("t_s") / 3600,
        kind=pl.lit("retweet"),
        count=1 + pl.col("followers"),
    )
    first = pl.col("time") <= 0
    later = continuous(rows.filter(~first), 1 / 3600).filter(pl.col("time") <= 6)
    order = rows.select("sequence").unique().sort("sequence")
    order = order.sample(fraction=1.0, shuffle=True, seed=0)
    events = pl.concat([rows.filter(first), later])
    return Log(events, in_order(order, events, end=6.0), batch_size=4)


LOGS: dict[str, Callable[[], Log]] = {
    "weibo-ced": weibo,
    "kuaishou-kuairand": kuaishou,
    "retweets": retweets,
}


def read(dataset: str, table: str) -> pl.DataFrame:
    """A table of a real dataset; `InputError` where it is absent."""
    path = real_data() / dataset / f"{table}.parquet"
    if not path.exists():
        raise InputError(
            f"{path.parent} holds no dataset: set M3TR_REAL_DATA to the folder of the real datasets"
        )
    return pl.read_parquet(path)


def continuous(rows: pl.DataFrame, step: float) -> pl.DataFrame:
    """Times rounded to `step` made continuous: a density has no meaning on a lattice."""
    rows = rows.sort(rows.columns)
    noise = np.random.default_rng(0).uniform(0, step, rows.height)
    return rows.with_columns(time=pl.col("time") - noise).filter(pl.col("time") > 0)


def in_order(order: pl.DataFrame, events: pl.DataFrame, end: float) -> pl.DataFrame:
    """Windows of the sequences that have an event, split in this order."""
    seen = order.join(events, on="sequence", how="semi", maintain_order="left")
    return with_split(seen.with_columns(end=pl.lit(end)))


def with_split(windows: pl.DataFrame) -> pl.DataFrame:
    """The first 70 % train, the next 10 % choose the epoch, the rest test."""
    share = pl.int_range(pl.len()) / pl.len()
    split = pl.when(share < 0.7).then(pl.lit("train")).when(share < 0.8).then(pl.lit("held"))
    return windows.with_columns(split=split.otherwise(pl.lit("test")))


def compared(log: Log, rows: dict[str, Any], epochs: int, seed: int) -> dict[str, Any]:
    """Every row, fitted and scored."""
    kinds = log.events["kind"].unique().sort().to_list()
    train, held, test = (part(log, split, kinds) for split in ("train", "held", "test"))
    n = (test.mask & (test.time > 0)).sum(1).numpy().astype(float)
    scores = {}
    for name, changes in rows.items():
        start = time.perf_counter()
        given = {"epochs": epochs, "seed": seed, "batch_size": log.batch_size, "scales": SCALES}
        model = fit(train, kinds, HawkesSettings(**(given | changes)), held)
        seconds = time.perf_counter() - start
        learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
        scores[name] = Score(nll(model, test), distance(model, test), learned, seconds)
    ours = scores[OURS].nll
    figures = {}
    for name, score in scores.items():
        gap, interval = difference(ours, score.nll, n, RESAMPLES)
        figures[name] = {
            "nats": -float(score.nll.sum() / n.sum()),
            "ks": score.ks,
            "difference": gap,
            "interval": interval,
            "parameters": score.parameters,
            "seconds": round(score.seconds, 1),
        }
    return figures


def part(log: Log, split: str, kinds: list[str]) -> EventBatch:
    """The sequences of a split."""
    windows = log.windows.filter(split=split)
    ids, ends = windows["sequence"].to_list(), windows["end"].to_numpy()
    return batch(log.events, ids, ends, kinds)


def nll(model: MambaHawkes, events: EventBatch) -> np.ndarray:
    """Negative log likelihood of each sequence."""
    out = np.empty(len(events))
    for rows in buckets(events.lengths, 16):
        out[rows.numpy()] = -log_likelihood(model, events.select(rows)).total.detach().numpy()
    return out


def distance(model: MambaHawkes, events: EventBatch) -> float:
    """Mean Kolmogorov-Smirnov statistic of the kinds, weighted by their events."""
    increments = [x for x in compensator_increments(model, events) if len(x)]
    return float(
        np.average([ks(x).statistic for x in increments], weights=[len(x) for x in increments])
    )


def table(name: str, log: Log, figures: dict[str, Any]) -> str:
    """The figures as text, a line a row."""
    split = log.windows.group_by("split").len().sort("split").rows()
    sizes = ", ".join(f"{n} {part}" for part, n in split)
    lines = [
        f"\n{name}: {sizes} sequences",
        f"{'row':12} {'nats/event':>10} {'less ours [95 % CI]':>27} {'KS':>6} "
        f"{'parameters':>10} {'fit s':>7}",
    ]
    for row, f in figures.items():
        low, high = f["interval"]
        paired = "-" if row == OURS else f"{f['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(
            f"{row:12} {f['nats']:10.4f} {paired:>27} {f['ks']:6.4f} {f['parameters']:>10,} "
            f"{f['seconds']:7.1f}"
        )
    return "\n".join(lines)
