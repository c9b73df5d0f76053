"""Embeddings that the videos table already holds: one token a video, instead of the encoder."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import polars as pl

COLUMNS = {"visual": "emb_visual", "audio": "emb_audio", "text": "emb_text"}


@dataclass
class Precomputed:
    """Tokens (N, 1, D) float32, mask (N, 1) bool and the refused rows of one modality."""

    tokens: np.ndarray
    mask: np.ndarray
    refused: list[tuple[int, str, str]] = field(default_factory=list)


def take(videos: pl.DataFrame, modality: str) -> Precomputed | None:
    """The embedding column of a modality, or None where there is none (or only nulls).

    The most frequent length counts (the shorter one of a tie); rows of another length, or with a
    missing or infinite entry, are refused as (row, reason, remedy) and count as absent.
    """
    column = COLUMNS[modality]
    if column not in videos.columns or not videos[column].is_not_null().any():
        return None
    if not isinstance(videos.schema[column], pl.List | pl.Array):
        from m3tr.errors import InputError

        raise InputError(
            f"videos: column '{column}' holds {videos.schema[column]}, not lists of numbers; "
            "write it as List(Float32) or drop it"
        )
    rows = videos[column].to_list()
    lengths = Counter(len(row) for row in rows if row)
    length = min(lengths, key=lambda n: (-lengths[n], n)) if lengths else 1
    tokens = np.zeros((len(rows), 1, length), np.float32)
    mask = np.zeros((len(rows), 1), bool)
    refused = []
    for i, row in enumerate(rows):
        if row is None:
            continue
        if len(row) != length:
            reason = f"{column} has {len(row)} entries, most rows have {length}"
            refused.append((i, reason, f"give {length} entries, or leave the cell empty"))
            continue
        values = np.array([np.nan if x is None else x for x in row], np.float32)
        if not np.isfinite(values).all():
            refused.append((i, f"{column} has missing or infinite entries", "give finite numbers"))
            continue
        tokens[i, 0], mask[i, 0] = values, True
    return Precomputed(tokens, mask, refused)
