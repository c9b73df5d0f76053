"""Earlier videos of the same creator, as a bank remembers them (docs/model.md, section 4).

Their outcomes say of a new video what no similarity of content or trajectory does: who made it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from m3tr.memory.neighbours import Neighbours

CREATOR = "creator_id"


def of_creators(items: pl.DataFrame, videos: pl.DataFrame) -> list[np.ndarray]:
    """Positions of the items whose creator is that of each video, ascending.

    None for a video without a creator, or where `items` or `videos` name no creators.
    """
    nothing = np.empty(0, np.int64)
    if CREATOR not in items.columns or CREATOR not in videos.columns:
        return [nothing] * videos.height
    own = (
        items.select(pl.col(CREATOR).cast(pl.String), position=pl.int_range(pl.len()))
        .join(videos.select(pl.col(CREATOR).cast(pl.String)).unique(), on=CREATOR, how="semi")
        .group_by(CREATOR)
        .agg(pl.col("position").sort())
    )
    positions = {
        creator: np.array(each, np.int64)
        for creator, each in own.iter_rows()
        if creator is not None
    }
    return [positions.get(c, nothing) for c in videos[CREATOR].cast(pl.String)]


def latest(
    items: pl.DataFrame,
    videos: pl.DataFrame,
    k: int,
    known_by: np.ndarray | None,
    exclude: Sequence[np.ndarray],
) -> Neighbours:
    """The creator's videos that a query may be shown, the one that became known last first.

    Parameters
    ----------
    items : DataFrame
        Of the bank, by position: `known_at`, `creator_id`.
    videos : DataFrame
        Q rows of the videos table.
    k : int
        At most so many.
    known_by : ndarray of datetime64[us], shape (Q,), or None
        Only items whose outcome was known by then; without it, all (random splits).
    exclude : sequence of ndarray of int
        Positions that each query is not shown (`Bank.alike`).

    Returns
    -------
    Neighbours
        Shapes (Q, k), all scores 0: there is nothing to compare.
    """
    known_at = items["known_at"].to_numpy()
    found = Neighbours.nobody(videos.height, k)
    for q, own in enumerate(of_creators(items, videos)):
        own = np.setdiff1d(own, exclude[q], assume_unique=True)
        if known_by is not None:
            own = own[known_at[own] <= known_by[q]]
        own = own[np.argsort(-known_at[own].astype(np.int64), kind="stable")][:k]
        found.index[q, : len(own)] = own
    return found
