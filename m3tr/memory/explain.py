"""Why a query was shown what it was shown: the score of each neighbour, part by part."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from m3tr.memory.neighbours import Neighbours

if TYPE_CHECKING:
    from m3tr.memory.bank import Bank

OUTCOME = "increment"


def explain(bank: "Bank", videos: Sequence[str], found: Neighbours) -> pl.DataFrame:
    """One row a neighbour, best first within each query (docs/retrieval.md, "Explanations").

    Parameters
    ----------
    bank : Bank
        That `found` comes from.
    videos : sequence of str
        Ids of the Q queries.
    found : Neighbours

    Returns
    -------
    DataFrame
        `video` (the query), `rank` (from 1), `video_id` and the other identity columns of the
        neighbour, `score`, `trajectory` and `content` (cosines), and by part (`trajectory` and
        each modality) `cosine.*`, `weight.*` and `points.*`: points are weight times cosine, and
        those of a row add up to its score. `increment` (list, log2 units, by horizon) where the
        bank remembers it.
    """
    query, place = np.nonzero(found.found)
    at = found.index[query, place]
    items = bank.describe(at) if len(at) else bank.items.clear()
    columns: dict[str, pl.Series] = {
        "video": pl.Series(np.asarray(videos, object)[query], dtype=pl.String),
        "rank": pl.Series(place + 1, dtype=pl.Int64),
    }
    columns |= {name: items[name] for name in items.columns}
    for name in ("score", "trajectory", "content"):
        columns[name] = pl.Series(getattr(found, name)[query, place])
    cosine = {"trajectory": found.trajectory, **found.modalities}
    columns |= {f"cosine.{part}": pl.Series(c[query, place]) for part, c in cosine.items()}
    columns |= {f"weight.{part}": pl.Series(found.shares[part][query]) for part in cosine}
    for part, c in cosine.items():
        columns[f"points.{part}"] = pl.Series(found.shares[part][query] * c[query, place])
    if OUTCOME in bank.remembered:
        outcome = bank.take(OUTCOME, at)
        columns[OUTCOME] = pl.Series(outcome.tolist(), dtype=pl.List(pl.Float64))
    return pl.DataFrame(columns)


def parts(table: pl.DataFrame) -> list[str]:
    """Parts of the score that a table of `explain` has columns for, the trajectory first."""
    return [c.removeprefix("points.") for c in table.columns if c.startswith("points.")]
