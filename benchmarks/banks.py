"""Banks for the benchmarks of retrieval: keys of low intrinsic dimension, items, peers' vectors."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys, unit

START = np.datetime64("2024-01-01", "us")
INTRINSIC, THEMES = 24, 200  # dimensions that a key really has, and centres around which it lies
MICROSECONDS_A_DAY = 86_400e6


def keys_like_real_ones(rng: np.random.Generator, n: int, layout: Mapping[str, int]) -> Keys:
    """Unit keys around common themes, in a few dimensions of many, with a little noise.

    Embeddings of real videos are like this: independent noise in every dimension would make all of
    them equally far, and a search for the nearest among them a search for nothing.
    """
    theme = rng.integers(0, THEMES, n)
    parts = {}
    for part, width in layout.items():
        inner = min(INTRINSIC, width)
        centre = rng.normal(size=(THEMES, inner)).astype(np.float32)
        spread = rng.normal(size=(inner, width)).astype(np.float32) / np.sqrt(inner)
        key = np.empty((n, width), np.float32)
        for rows in np.array_split(np.arange(n), max(1, n // 50_000)):
            own = centre[theme[rows]] + rng.standard_normal((len(rows), inner), np.float32)
            key[rows] = own @ spread
            key[rows] += 0.1 * rng.standard_normal((len(rows), width), np.float32)
            key[rows] = unit(key[rows])
        parts[part] = key
    return Keys(parts.pop("trajectory"), parts)


def items_over_days(rng: np.random.Generator, n: int, days: float, first: int = 0) -> pl.DataFrame:
    """Items whose outcomes became known at different moments; one in fifty copies a title."""
    number = np.arange(first, first + n)
    title = np.where(rng.random(n) < 0.02, number // 2, number)
    moment = (rng.random(n) * days * MICROSECONDS_A_DAY).astype("timedelta64[us]")
    return pl.DataFrame(
        {
            "video_id": [f"v{i:08d}" for i in number.tolist()],
            "known_at": START + moment,
            "title": [f"title {i}" for i in title.tolist()],
            "creator_id": [f"c{i % 997}" for i in title.tolist()],
        }
    )


def joined(keys: Keys, eta: float) -> np.ndarray:
    """One vector (N, D) a video, float32, whose inner products are the scores at `eta`.

    For keys of one modality at most, which is what the peers can be given.
    """
    content = [np.sqrt(1 - eta) * key for key in keys.content.values()]
    return np.hstack([np.sqrt(eta) * keys.trajectory, *content]).astype(np.float32)


def ids_of(bank: Bank, index: np.ndarray) -> np.ndarray:
    """Video ids at positions (Q, k), "" where there is none."""
    ids = bank.items["video_id"].to_numpy()
    return np.where(index >= 0, ids[np.maximum(index, 0)], "") if len(ids) else index.astype(str)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long `work` takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
