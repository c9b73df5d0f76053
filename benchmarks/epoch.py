"""How long does an epoch take? Training on the taxi sequences, ours beside models of easy-tpp.

Interleaved rounds in one run: our epochs in this process, then those of each peer in a process of
its own, after two batches to warm up; medians over all epochs. Batches of 64 sequences, the same
number of threads for all. What is timed is the pass of gradient steps, without validation.
"""

import argparse
import statistics
import time
from typing import Any

import numba
import torch

from benchmarks import peers
from benchmarks.tpp_taxi import KINDS, SETTINGS, event_batch, events, read
from m3tr.hawkes.events import EventBatch
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.training import Training, start_context

PEERS = ("NHP", "THP", "S2P2")  # AttNHP costs about as much as the three together
BATCH = 64
ROUNDS, EPOCHS = 3, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--threads", type=int, default=1, help="of each process (default 1)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time the epochs; `ours_s`, `nhp_s`, ... and `nhp_ratio`, ...: theirs / ours."""
    rounds, epochs = (1, 1) if options.quick else (ROUNDS, EPOCHS)
    torch.set_num_threads(options.threads)
    numba.set_num_threads(min(options.threads, numba.get_num_threads()))
    train = event_batch(read().train)
    seconds: dict[str, list[float]] = {"ours": []}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        seconds["ours"] += ours(train, epochs)
        for model in (m for m in PEERS if m not in missing):
            try:
                timed = peers.epoch_seconds(
                    model, events(), epochs, options.threads, install=not options.quick
                )
            except peers.PeerError as error:
                missing[model] = str(error)
            else:
                seconds.setdefault(model.lower(), []).extend(timed)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'model':6} {'s/epoch':>8} {'fastest':>8} {'slowest':>8} {'/ ours':>7}")
    for name, value in medians.items():
        low, high = min(seconds[name]), max(seconds[name])
        ratio = value / medians["ours"]
        print(f"{name:6} {value:8.3f} {low:8.3f} {high:8.3f} {ratio:7.2f}")
    for model, reason in missing.items():
        print(f"without easy-tpp {model}: {reason}")
    figures: dict[str, Any] = {f"{m}_s": medians.get(m) for m in ("ours", *map(str.lower, PEERS))}
    for model in map(str.lower, PEERS):
        figures[f"{model}_ratio"] = medians[model] / medians["ours"] if model in medians else None
    return figures | {"threads": options.threads}


def ours(train: EventBatch, epochs: int) -> list[float]:
    """Seconds of each of some training epochs of the library's loop, after one to warm up."""
    settings = HawkesSettings(**SETTINGS, batch_size=BATCH)
    torch.manual_seed(0)
    model = MambaHawkes(KINDS, settings)
    model.measure(train)
    start_context(model, train)
    training = Training(model, train, torch.Generator().manual_seed(0))

    def timed() -> float:
        start = time.perf_counter()
        training.epoch()
        return time.perf_counter() - start

    return [timed() for _ in range(epochs + 1)][1:]
