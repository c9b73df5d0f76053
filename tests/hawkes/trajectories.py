"""Videos of known trajectory classes, and their likelihood written out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from m3tr.hawkes.histories import Histories
from m3tr.hawkes.latent import LatentClasses, bins
from m3tr.hawkes.simulate import simulate

KINDS = ["view", "like"]
END, SEEN = 4.0, 1.0  # days: the last horizon, the age of observation
VIDEOS = 260  # of the fixtures
START = datetime(2026, 1, 1, tzinfo=UTC)


def truth() -> LatentClasses:
    """Three classes: early, late and even; the evening is four times as busy as the night."""
    base = np.array([[2.6, 0.8, 0.3, 0.3], [0.3, 0.3, 2.8, 0.6], [1.0, 1.0, 1.0, 1.0]])
    return LatentClasses.from_arrays(
        {
            "edges": np.arange(5.0),
            "base": base,
            "mix": np.array([[0.6, 0.4], [0.9, 0.1], [0.75, 0.25]]),
            "clock": 1 + 0.6 * np.cos(2 * np.pi * (np.arange(24) - 20) / 24),
            "log_class": np.log([0.4, 0.35, 0.25]),
            "log_volume": np.log([12.0, 10.0, 14.0]),
            "alpha": np.array([[[0.25, 0.2], [0.15, 0.1]], [[0.05, 0.1], [0.02, 0.0]]]),
            "beta": np.array([8.0, 0.8]),
        }
    )


def immigration(process: LatentClasses, c: int, hour: int, volume: float) -> Any:
    """Left ends of the hours up to `END`, and the rates (P, K) in each; `hour` is whole."""
    a, cell = process.arrays, np.arange(int(END * 24))
    place = np.searchsorted(a["edges"], (cell + 0.5) / 24) - 1
    rate = volume * a["base"][c, place] * a["clock"][(hour + cell) % 24]
    return cell / 24, rate[:, None] * a["mix"][c]


def jumps(process: LatentClasses) -> np.ndarray:
    """How far an event raises the intensity, as `m3tr.hawkes.simulate` takes it."""
    jump: np.ndarray = process.arrays["alpha"] * process.arrays["beta"][:, None, None]
    return jump


def world(n: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Feedback up to `END` and examples of `n` videos of `truth`, and their classes."""
    rng, process = np.random.default_rng(seed), truth()
    a = process.arrays
    of = rng.choice(3, n, p=np.exp(a["log_class"]))
    rows, born = [], []
    for i, c in enumerate(of):
        hour = int(rng.integers(24))
        born.append(START + timedelta(days=int(rng.integers(60)), hours=hour))
        volume = np.exp(a["log_volume"][c]) * rng.gamma(3) / 3
        mu = immigration(process, c, hour, volume)
        times, kinds = simulate(*mu, jumps(process), a["beta"], END, int(rng.integers(2**62)))
        rows.append(
            pl.DataFrame(
                {
                    "video_id": [f"v{i:04}"] * len(times),
                    "time": [born[-1] + timedelta(days=t) for t in times],
                    "kind": [KINDS[k] for k in kinds],
                    "count": np.ones(len(times), dtype=np.int64),
                },
                schema_overrides={"video_id": pl.String, "kind": pl.String}
                | {"time": pl.Datetime("us", "UTC")},
            )
        )
    examples = pl.DataFrame(
        {"video_id": [f"v{i:04}" for i in range(n)], "published_at": born},
        schema_overrides={"published_at": pl.Datetime("us", "UTC")},
    ).with_columns(
        observed_at=pl.col("published_at") + timedelta(days=SEEN),
        known_at=pl.col("published_at") + timedelta(days=END),
        age_days=pl.lit(SEEN),
        horizon_days=pl.lit([2.0, END]),
    )
    return pl.concat(rows), examples, of


def with_ages(feedback: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Feedback with the age, days, of each row."""
    born = feedback.join(examples.select("video_id", "published_at"), on="video_id")
    age = (pl.col("time") - pl.col("published_at")).dt.total_microseconds() / 86_400e6
    return born.with_columns(age_days=age)


def random_histories(n: int, kinds: int = 3, seed: int = 0, each: int = 25) -> Histories:
    """Events of odd hours, counts and ends; every fourth is at the time of the one before."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, each, n)
    counts[0] = each
    end = rng.uniform(0.3, 5.0, n)
    parts = []
    for size, until in zip(counts, end, strict=True):
        time = np.sort(rng.uniform(0, until, size))
        time[3::4] = time[2::4][: len(time[3::4])]
        parts.append(time)
    total = int(counts.sum())
    return Histories(
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate(parts),
        rng.integers(0, kinds, total),
        rng.integers(1, 6, total).astype(float),
        end,
        rng.uniform(0, 24, n),
    )


def random_process(classes: int = 2, kinds: int = 3, seed: int = 1) -> LatentClasses:
    """A process whose every part is drawn; its bins end at three days."""
    rng = np.random.default_rng(seed)
    clock = rng.uniform(0.3, 2.0, 24)
    return LatentClasses.from_arrays(
        {
            "edges": np.array([0.0, 0.21, 0.77, 1.5, 3.0]),
            "base": rng.uniform(0.2, 2.0, (classes, 4)),
            "mix": rng.dirichlet(np.full(kinds, 3.0), classes),
            "clock": clock / clock.mean(),
            "log_class": np.log(rng.dirichlet(np.full(classes, 5.0))),
            "log_volume": rng.uniform(1.0, 3.0, classes),
            "alpha": rng.uniform(0.0, 0.3 / kinds, (2, kinds, kinds)),
            "beta": np.array([6.0, 0.4]),
        }
    )


def one(h: Histories, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, kinds and counts of video `i`."""
    part = slice(h.offsets[i], h.offsets[i + 1])
    return h.time[part], h.kind[part], h.count[part]


def places_of(process: LatentClasses, h: Histories) -> tuple[np.ndarray, np.ndarray]:
    """Bin and hour of day of each event."""
    hour = np.floor(h.hour[h.video] + 24 * h.time).astype(int) % 24
    return bins(h.time, process.arrays["edges"]), hour


def excited(process: LatentClasses, h: Histories, i: int) -> np.ndarray:
    """What earlier events add to the intensity at each event of video `i`: a sum over pairs."""
    (time, kind, count), jump = one(h, i), jumps(process)
    wait = time[:, None] - time
    found = np.zeros(len(time))
    for m, beta in enumerate(process.arrays["beta"]):
        pull = jump[m][kind[:, None], kind] * np.exp(-beta * np.maximum(wait, 0)) * count
        found += (pull * (wait > 0)).sum(1)
    return found


def immigrant_rate(process: LatentClasses, age: np.ndarray, hour: float, c: int) -> np.ndarray:
    """Immigration of class `c` at volume 1, all kinds together."""
    a = process.arrays
    place = np.clip(np.searchsorted(a["edges"], age) - 1, 0, a["base"].shape[1] - 1)
    rate: np.ndarray = a["base"][c, place] * a["clock"][np.floor(hour + 24 * age).astype(int) % 24]
    return rate


def integral(
    process: LatentClasses, until: float, hour: float, c: int, start: float = 0.0
) -> float:
    """Of `immigrant_rate`, on a fine grid."""
    n = 200_000
    middle = start + (np.arange(n) + 0.5) * (until - start) / n
    return float(immigrant_rate(process, middle, hour, c).mean() * (until - start))


def log_joint(
    process: LatentClasses, h: Histories, i: int, c: int, volume: float, log_volume: float,
    shape: float,
) -> float:  # fmt: skip
    """Log likelihood of video `i` in class `c` at a volume, with the gamma prior of its logarithm.

    What the classes have in common is left out: the integral of the excitation, and of the prior
    `shape log(shape) - log Gamma(shape)`.
    """
    (time, kind, count), end = one(h, i), float(h.end[i])
    rate = volume * immigrant_rate(process, time, h.hour[i], c) * process.arrays["mix"][c, kind]
    likelihood = (count * np.log(rate + excited(process, h, i))).sum()
    mass = volume * integral(process, end, h.hour[i], c)
    prior = shape * (np.log(volume) - log_volume) - shape * volume / np.exp(log_volume)
    return float(likelihood - mass + prior)
