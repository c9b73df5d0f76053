"""Part files of features from plain arrays, as the features stage writes them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

Tokens = Sequence[np.ndarray | None]  # (T_i, D) of each video, or None where it has none
WIDTHS = {"visual": 6, "audio": 4, "text": 5}


def draw(n: int, seed: int, *, tokens: int = 3, absent: float = 0.1) -> dict[str, list]:
    """Random tokens of n videos in every modality; some videos lack some."""
    rng = np.random.default_rng(seed)
    return {
        m: [
            None
            if rng.random() < absent
            else rng.normal(1, 2, (rng.integers(1, tokens + 1), width)).astype(np.float32)
            for _ in range(n)
        ]
        for m, width in WIDTHS.items()
    }


def names(n: int) -> list[str]:
    return [f"v{i}" for i in range(n)]


def column(rows: Tokens, width: int, name: str) -> pl.Series:
    kind = pl.List(pl.Array(pl.Float32, width))
    return pl.Series(name, [None if row is None else row.tolist() for row in rows], kind)


def write(
    folder: Path, modalities: dict[str, Tokens], ids: list[str] | None = None, parts: int = 1
) -> list[Path]:
    """Write the videos in `parts` files; their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    n = len(next(iter(modalities.values())))
    frame = pl.DataFrame({"video_id": names(n) if ids is None else ids})
    for m, rows in modalities.items():
        width = next(len(row[0]) for row in rows if row is not None and len(row))
        frame = frame.with_columns(column(rows, width, m))
    size = -(-n // parts)
    paths = []
    for i in range(parts):
        paths.append(folder / f"part-{i:05d}.parquet")
        frame[i * size : (i + 1) * size].write_parquet(paths[-1])
    return paths
