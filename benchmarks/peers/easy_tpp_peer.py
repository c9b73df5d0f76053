"""Train one model of easy-tpp on event sequences and write its likelihood, by test sequence.

Started by benchmarks/peers/__init__.py with the python of the peer's own environment, in which
m3tr is not installed. Models and training loss are easy-tpp's, untouched; the loop and the score
are ours. The score: log intensities just before each event, less the integral over all kinds, by
Gauss-Legendre within each gap with so many nodes that more change nothing.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from easy_tpp.config_factory import ModelConfig
from easy_tpp.model import NHP, S2P2, THP, AttNHP

MODELS = {"NHP": NHP, "THP": THP, "AttNHP": AttNHP, "S2P2": S2P2}

# Sizes of easy-tpp's own example of this dataset. It has none for S2P2: that is the published
# variant (post-norm, input-dependent time scales, the level below held at its left limit).
PUBLISHED_S2P2 = {
    "P": 32,
    "relative_time": True,
    "int_backward_variant": True,
    "pre_norm": False,
    "post_norm": True,
    "act_func": "gelu",
}
POINTS = "loss_integral_num_sample_per_step"  # of the training loss, in each gap
SIZES: dict[str, dict[str, Any]] = {
    "NHP": {"hidden_size": 64, POINTS: 20},
    "THP": {"hidden_size": 32, "time_emb_size": 16, "num_layers": 2, "num_heads": 2, POINTS: 20},
    "AttNHP": {"hidden_size": 16, "time_emb_size": 4, "num_layers": 2, "num_heads": 2, POINTS: 10},
    "S2P2": {"hidden_size": 32, "num_layers": 2, "model_specs": PUBLISHED_S2P2, POINTS: 10},
}
# Of Gauss-Legendre in each gap; the report holds the change with twice as many. So many because
# S2P2 oscillates and the softplus of these models jumps where its argument is large (11.5 to 20).
NODES = 256
VALIDATION_NODES = 32

Batch = dict[str, torch.Tensor]


def main() -> None:
    """Train and score, or with `--time-epochs` only time; write one JSON file."""
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    events = pd.read_parquet(options.events)
    n_kinds = int(events["kind"].max()) + 1
    data = {split: sequences(rows) for split, rows in events.groupby("split")}
    model = build(options.model, n_kinds, options)
    report: dict[str, Any] = {
        "model": options.model,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "threads": options.threads,
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "sizes": {**SIZES[options.model], **options.sizes},
        "versions": {"easy_tpp": version("easy_tpp"), "torch": torch.__version__},
        "opt_einsum": torch.backends.opt_einsum.is_available(),  # S2P2's speed depends on it
    }
    if options.time_epochs:
        report["seconds"] = timed(model, data["train"], n_kinds, options)
    else:
        report |= train(model, data["train"], data["dev"], n_kinds, options)
        report |= scored(model, data["test"], n_kinds)
    options.out.write_text(json.dumps(report) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--patience", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--sizes", type=json.loads, default={}, help="JSON, over the defaults")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop training then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time-epochs", type=int, default=0)
    return parser.parse_args()


def build(name: str, n_kinds: int, options: argparse.Namespace) -> torch.nn.Module:
    """An untrained model. The loss takes the trapezoid rule, the better of easy-tpp's two."""
    config = ModelConfig(
        model_id=name,
        num_event_types=n_kinds,
        num_event_types_pad=n_kinds + 1,
        event_pad_index=n_kinds,
        use_mc_samples=False,
        training=True,
        **{**SIZES[name], **options.sizes},
    )
    model: torch.nn.Module = MODELS[name](config)
    return model


class Sequence:
    """One sequence: its number, times from its first event on (hours) and kinds."""

    def __init__(self, number: int, time: np.ndarray, kind: np.ndarray) -> None:
        self.number, self.time, self.kind = number, time - time[0], kind


def sequences(rows: pd.DataFrame) -> list[Sequence]:
    """The sequences of a split, in the order of their numbers."""
    ordered = rows.sort_values(["sequence", "time", "kind"])
    return [
        Sequence(
            int(part["sequence"].iloc[0]),
            part["time"].to_numpy(np.float64),
            part["kind"].to_numpy(np.int64),
        )
        for _, part in ordered.groupby("sequence")
    ]


def collate(part: list[Sequence], pad: int) -> Batch:
    """The inputs of easy-tpp's models, padded at the end; a gap is that before an event."""
    B, L = len(part), max(len(s.time) for s in part)
    at, gap = np.zeros((B, L), np.float32), np.zeros((B, L), np.float32)
    kind, mask = np.full((B, L), pad, np.int64), np.zeros((B, L), bool)
    for i, s in enumerate(part):
        n = len(s.time)
        at[i], at[i, :n] = s.time[-1], s.time
        gap[i, 1:n] = np.diff(s.time)
        kind[i, :n], mask[i, :n] = s.kind, True
    later = torch.ones(L, L, dtype=torch.bool).triu(1)  # True: not attended to
    return {
        "time_seqs": torch.from_numpy(at),
        "time_delta_seqs": torch.from_numpy(gap),
        "type_seqs": torch.from_numpy(kind),
        "seq_non_pad_mask": torch.from_numpy(mask),
        "attention_mask": later.expand(B, L, L),
    }


def batches(data: list[Sequence], pad: int, size: int, shuffled: bool) -> Iterator[Batch]:
    """The sequences in batches, in random order where `shuffled`."""
    order = torch.randperm(len(data)).tolist() if shuffled else range(len(data))
    for i in range(0, len(data), size):
        yield collate([data[j] for j in order[i : i + size]], pad)


def epoch(
    model: Any, optimizer: torch.optim.Optimizer, data: list[Sequence], pad: int, size: int
) -> float:
    """One pass of gradient steps over the training sequences; its seconds."""
    start = time.perf_counter()
    model.train()
    for batch in batches(data, pad, size, shuffled=True):
        loss, n = model.loglike_loss(**batch)
        optimizer.zero_grad()
        (loss / n).backward()
        optimizer.step()
    return time.perf_counter() - start


def timed(model: Any, data: list[Sequence], pad: int, options: argparse.Namespace) -> list[float]:
    """Seconds of each of `--time-epochs` epochs, after two batches to warm up."""
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    size = options.batch_size
    epoch(model, optimizer, data[: 2 * size], pad, size)
    return [epoch(model, optimizer, data, pad, size) for _ in range(options.time_epochs)]


def train(
    model: Any,
    data: list[Sequence],
    validation: list[Sequence],
    pad: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Adam until the validation score stops falling; the model is left as in its best epoch.

    The learning rate is halved after five epochs without gain, which easy-tpp's own loop does not
    do, and which can only help the peer.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    start = time.monotonic()
    seconds: list[float] = []
    curve: list[float] = []
    best, kept = float("inf"), {}
    while len(curve) < options.epochs and time.monotonic() - start < 60 * options.minutes:
        seconds.append(epoch(model, optimizer, data, pad, options.batch_size))
        now = mean(score(model, validation, pad, VALIDATION_NODES))
        curve.append(now)
        schedule.step(now)
        print(f"epoch {len(curve)}: {now:.4f} in {seconds[-1]:.1f} s", flush=True)
        if now < best:
            best = now
            kept = {name: t.clone() for name, t in model.state_dict().items()}
        elif len(curve) - 1 - int(np.argmin(curve)) >= options.patience:
            break
    model.load_state_dict(kept)
    return {
        "epochs": len(curve),
        "best_epoch": int(np.argmin(curve)) + 1,
        "converged": len(curve) - 1 - int(np.argmin(curve)) >= options.patience,
        "seconds_per_epoch": statistics.median(seconds),
        "validation": curve,
    }


def intensities(model: Any, batch: Batch, fractions: torch.Tensor) -> torch.Tensor:
    """Intensities at fractions (G,) of every gap, (B, L - 1, G, K), given the events before it.

    At fraction 1 it is the left limit at the event that ends the gap. easy-tpp adds a floor to
    the intensities of its loss; it is part of the model.
    """
    at, gap, kind = (batch[k] for k in ("time_seqs", "time_delta_seqs", "type_seqs"))
    wait = gap[:, 1:, None] * fractions
    if isinstance(model, AttNHP):  # the one that wants times, not waits
        wait = wait + at[:, :-1, None]
    past = (at[:, :-1], gap[:, :-1], kind[:, :-1])
    out: torch.Tensor = model.compute_intensities_at_sample_times(
        *past, wait, attention_mask=batch["attention_mask"][:, :-1, :-1]
    )
    return out.double() + model.eps


@torch.no_grad()
def score(model: Any, data: list[Sequence], pad: int, nodes: int) -> pd.DataFrame:
    """`sequence`, `events` scored, the sum of their `log_intensity` and the `integral`."""
    model.eval()
    x, weight = np.polynomial.legendre.leggauss(nodes)
    fractions = torch.tensor(np.append((x + 1) / 2, 1.0), dtype=torch.float32)
    parts = []
    for i in range(0, len(data), 8):
        part = data[i : i + 8]
        batch = collate(part, pad)
        rate = intensities(model, batch, fractions)
        mask, kind = batch["seq_non_pad_mask"][:, 1:], batch["type_seqs"][:, 1:]
        realised = rate[:, :, -1].gather(2, kind.clamp(max=pad - 1)[..., None])[..., 0]
        total = rate[:, :, :-1].sum(3) @ torch.from_numpy(weight / 2)
        gap = batch["time_delta_seqs"][:, 1:].double()
        columns = {
            "sequence": [s.number for s in part],
            "events": mask.sum(1),
            "log_intensity": torch.where(mask, realised, 1.0).log().sum(1),
            "integral": (total * gap * mask).sum(1),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def mean(rows: pd.DataFrame) -> float:
    """Negative log likelihood per event."""
    return float((rows["integral"] - rows["log_intensity"]).sum() / rows["events"].sum())


def scored(model: Any, data: list[Sequence], pad: int) -> dict[str, Any]:
    """The score of every test sequence, and two checks of it."""
    rows, finer = (score(model, data, pad, nodes) for nodes in (NODES, 2 * NODES))
    return {
        "nodes": NODES,
        "finer_nodes_change": mean(finer) - mean(rows),
        "finer_nodes_change_max": float(
            ((finer["integral"] - rows["integral"]) / rows["events"]).abs().max()
        ),
        "future_change": future(model, data, pad),
        "sequences": rows.to_dict("list"),
    }


@torch.no_grad()
def future(model: Any, data: list[Sequence], pad: int) -> float:
    """Largest relative change of the earlier intensities when the later events are others."""
    half = min(len(s.time) for s in data) // 2
    other = []
    for s in data[:20]:
        later, kind = s.time.copy(), s.kind.copy()
        later[half:] += np.linspace(0.1, 1.0, len(later) - half)
        kind[half:] = (kind[half:] + 1) % pad
        other.append(Sequence(s.number, later, kind))
    waits = torch.tensor([0.2, 0.7])
    a, b = (intensities(model, collate(d, pad), waits) for d in (data[:20], other))
    a, b = a[:, : half - 1], b[:, : half - 1]
    return float(((a - b).abs() / a).max())


if __name__ == "__main__":
    main()
