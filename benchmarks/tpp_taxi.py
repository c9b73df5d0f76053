"""How likely are held-out taxi events? The point process beside the models of easy-tpp.

Nats per event, lower is better: the negative log likelihood of events 2 to N of each test sequence,
times in hours, divided by their number. The first event is conditioned on and the window ends at
the last. Every row is scored by the same formula, with the integral over all kinds.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from benchmarks import peers
from benchmarks.workspaces import real_data
from m3tr.errors import InputError
from m3tr.hawkes.events import EventBatch, batch
from m3tr.hawkes.likelihood import log_likelihood
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.training import fit

OURS = "MambaHawkes"
KINDS = [str(k) for k in range(10)]
SCALES = 4  # exponentials of the Hawkes row
SETTINGS: dict[str, Any] = {"width": 40, "state": 8, "layers": 2, "dropout": 0.15}
EPOCHS, QUICK_EPOCHS = 40, 2
MEMBERS = 5  # of the mean intensity
QUICK_SEQUENCES = 200  # of the training split
RESAMPLES, QUICK_RESAMPLES = 10_000, 1_000


class Taxi(NamedTuple):
    """The splits of the dataset, columns sequence, time (hours since the first event), kind."""

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame


class Row(NamedTuple):
    """A model's score and cost."""

    nll: np.ndarray  # negative log likelihood of each test sequence, by sequence number, nats
    parameters: int
    seconds_per_epoch: float | None = None
    epochs: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--seed", type=int, default=0, help="of our own training")
    parser.add_argument("--retrain", action="store_true", help="train the peers again")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Score every row; `{model: {nll, difference, interval, ...}, rival, margin, margin_interval}`.

    `difference` is that to the best peer on the same sequences, with its 95 % interval over them;
    `margin` is that of our model, negative where ours is better. Without any peer both are null.
    """
    taxi = read()
    if options.quick:
        taxi = taxi._replace(train=taxi.train.filter(pl.col("sequence") < QUICK_SEQUENCES))
    rows = {
        "Poisson": fitted(taxi.train, taxi.test, HawkesSettings(context=False, classical=False)),
        "Hawkes": fitted(taxi.train, taxi.test, HawkesSettings(context=False, scales=SCALES)),
    }
    missing = []
    for model in peers.SETTINGS:
        peer = peers.trained(
            model,
            events(),
            retrain=options.retrain and not options.quick,
            cached_only=options.quick,
        )
        if peer.report is None:
            missing.append(f"without easy-tpp {model}: {peer.reason}")
        else:
            rows[model] = peer_row(peer.report)
    rows |= ours(taxi, options.quick, options.seed)
    resamples = QUICK_RESAMPLES if options.quick else RESAMPLES
    figures = compared(rows, scored_events(taxi.test), resamples)
    print(table(figures))
    for line in missing:
        print(line)
    return figures


def ours(taxi: Taxi, quick: bool, seed: int) -> dict[str, Row]:
    """The Mamba-Hawkes process, and the process whose intensity is the mean of several fits."""
    epochs = QUICK_EPOCHS if quick else EPOCHS
    members = 2 if quick else MEMBERS
    test, rows = event_batch(taxi.test), {}
    scored = test.mask & (test.time > 0)
    terms, areas, parameters = [], [], 0
    start = time.perf_counter()
    for i in range(members):
        settings = HawkesSettings(**SETTINGS, epochs=epochs, patience=epochs, seed=seed + i)
        model = fit(event_batch(taxi.train), KINDS, settings, event_batch(taxi.validation))
        seconds = (time.perf_counter() - start) / ((i + 1) * epochs)
        found = log_likelihood(model, test)
        terms.append(found.event.detach())
        areas.append(found.compensator.detach().sum(1))
        parameters += sum(p.numel() for p in model.parameters() if p.requires_grad)
        if i in (0, members - 1):
            mean = torch.logsumexp(torch.stack(terms), 0) - math.log(i + 1)
            nll = torch.stack(areas).mean(0) - (mean * scored).sum(1)
            name = OURS if i == 0 else f"mean of {i + 1}"
            rows[name] = Row(nll.numpy(), parameters, seconds, epochs)
    return rows


def fitted(train: pl.DataFrame, test: pl.DataFrame, settings: HawkesSettings) -> Row:
    """The library's process with these settings."""
    model = fit(event_batch(train), KINDS, settings)
    nll = -log_likelihood(model, event_batch(test)).total.detach().numpy()
    return Row(nll, sum(p.numel() for p in model.parameters() if p.requires_grad))


def peer_row(report: dict[str, Any]) -> Row:
    """The row of a peer from the report that its own environment wrote."""
    by_sequence = pl.DataFrame(report["sequences"]).sort("sequence")
    nll = (by_sequence["integral"] - by_sequence["log_intensity"]).to_numpy()
    return Row(nll, report["parameters"], report["seconds_per_epoch"], report["epochs"])


def events() -> Path:
    """The dataset's file; `InputError` where it is absent."""
    path = real_data() / "taxi" / "events.parquet"
    if not path.exists():
        raise InputError(
            f"{path.parent} holds no dataset: set M3TR_REAL_DATA to the folder of the real datasets"
        )
    return path


def read() -> Taxi:
    """The dataset, each sequence from its first event on."""
    since = pl.col("time") - pl.col("time").min().over("split", "sequence")
    frame = pl.read_parquet(events()).with_columns(since).sort("sequence", "time", "kind")
    parts = (frame.filter(split=name).drop("split") for name in ("train", "dev", "test"))
    return Taxi(*parts)


def event_batch(frame: pl.DataFrame) -> EventBatch:
    """The sequences in the order of their numbers; the event at time 0 is history, not scored."""
    by_sequence = frame.group_by("sequence").agg(pl.col("time").max()).sort("sequence")
    rows = frame.with_columns(pl.col("kind").cast(pl.String))
    ids = by_sequence["sequence"].cast(pl.String).to_list()
    return batch(rows, ids, by_sequence["time"].to_numpy(), KINDS)


def scored_events(test: pl.DataFrame) -> np.ndarray:
    """Number of scored events of each sequence: all but the first."""
    return test.group_by("sequence").len().sort("sequence")["len"].to_numpy().astype(float) - 1


def compared(rows: dict[str, Row], n: np.ndarray, resamples: int) -> dict[str, Any]:
    """Nats per event of each row and, paired by sequence, the difference to the best peer."""
    figures: dict[str, Any] = {
        name: {
            "nll": float(row.nll.sum() / n.sum()),
            "difference": None,
            "interval": None,
            "seconds_per_epoch": row.seconds_per_epoch,
            "epochs": row.epochs,
            "parameters": row.parameters,
        }
        for name, row in rows.items()
    }
    known = [name for name in peers.SETTINGS if name in rows]
    rival = min(known, key=lambda name: figures[name]["nll"], default=None)
    for name, row in rows.items():
        if rival is not None and name != rival:
            found = difference(row.nll, rows[rival].nll, n, resamples)
            figures[name]["difference"], figures[name]["interval"] = found
    return figures | {
        "rival": rival,
        "margin": figures[OURS]["difference"],
        "margin_interval": figures[OURS]["interval"],
    }


def difference(
    nll: np.ndarray, rival: np.ndarray, n: np.ndarray, resamples: int
) -> tuple[float, list[float]]:
    """`nll - rival` in nats per event, and its 95 % bootstrap interval over the sequences."""
    gap = nll - rival
    drawn = np.random.default_rng(0).integers(len(gap), size=(resamples, len(gap)))
    means = gap[drawn].sum(1) / n[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(gap.sum() / n.sum()), [float(low), float(high)]


def table(figures: dict[str, Any]) -> str:
    """The figures as text, a line a row."""
    rival = figures["rival"]
    beside = f"to {rival} [95 % CI]" if rival else "no peer"
    lines = [
        f"{'model':12} {'nats/event':>10}  {beside:27} {'s/epoch':>8} {'epochs':>6} "
        f"{'parameters':>10}"
    ]
    for name, row in figures.items():
        if not isinstance(row, dict):
            continue
        paired = "-"
        if row["interval"] is not None:
            low, high = row["interval"]
            paired = f"{row['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        seconds = "-" if row["seconds_per_epoch"] is None else f"{row['seconds_per_epoch']:.2f}"
        epochs = "-" if row["epochs"] is None else row["epochs"]
        lines.append(
            f"{name:12} {row['nll']:10.4f}  {paired:27} {seconds:>8} {epochs:>6} "
            f"{row['parameters']:>10,}"
        )
    return "\n".join(lines)
