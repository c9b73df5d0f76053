"""Embeddings that the videos table already holds: one token a video, instead of the encoder."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from m3tr.data.tables import vector_lengths
from m3tr.errors import InputError

COLUMNS = {"visual": "emb_visual", "audio": "emb_audio", "text": "emb_text"}


@dataclass
class Precomputed:
    """Tokens (N, 1, D) float32, mask (N, 1) bool and the refused rows of one modality."""

    tokens: np.ndarray
    mask: np.ndarray
    refused: list[tuple[int, str, str]] = field(default_factory=list)


def take(videos: pl.DataFrame, modality: str) -> Precomputed | None:
    """The embedding column of a modality, or None where no video has one.

    The most frequent length counts (the shorter one of a tie); rows of another length, or with a
    missing or infinite entry, are refused as (row, reason, remedy) and count as absent. An empty
    list is absent without being refused, as in `m3tr.data.quarantine`.
    """
    column = COLUMNS[modality]
    if column not in videos.columns or not videos[column].is_not_null().any():
        return None
    if not isinstance(videos.schema[column], pl.List | pl.Array):
        raise InputError(
            f"videos: column '{column}' holds {videos.schema[column]}, not lists of numbers; "
            "write it as List(Float32) or drop it"
        )
    vectors = videos[column]
    if isinstance(vectors.dtype, pl.Array):
        vectors = vectors.arr.to_list()
    vectors = vectors.cast(pl.List(pl.Float32))
    lengths, length = vector_lengths(vectors)
    if not length:
        return None
    tokens = np.zeros((len(vectors), 1, length), np.float32)
    mask = np.zeros((len(vectors), 1), bool)
    refused = []
    fits = (lengths == length).fill_null(False).to_numpy()
    tokens[fits, 0] = vectors.filter(pl.Series(fits)).list.to_array(length).to_numpy()
    whole = fits & np.isfinite(tokens[:, 0]).all(1)  # a missing entry reads as NaN
    mask[whole, 0] = True
    tokens[~whole] = 0
    for row in np.flatnonzero(lengths.is_not_null().to_numpy() & ~whole).tolist():
        if fits[row]:
            told = f"{column} has missing or infinite entries", "give finite numbers"
        else:
            told = (
                f"{column} has {lengths[row]} entries, most rows have {length}",
                f"give {length} entries, or leave the cell empty",
            )
        refused.append((row, *told))
    return Precomputed(tokens, mask, refused)
