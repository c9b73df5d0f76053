"""Videos of one creator, or of another group, as a bank remembers them (docs/model.md, section 4).

What became of a creator's earlier videos says of a new one what no similarity of content or
trajectory does. A group that a split keeps whole is shown to none of its own.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from m3tr.memory.neighbours import Neighbours

CREATOR = "creator_id"


def names_of(column: pl.Series) -> pl.Series:
    """Groups as text: 5 and 5.0 are one, since a request has one type for all numbers."""
    if not column.dtype.is_float():
        return column.cast(pl.String)
    whole = column.round().cast(pl.Int64, strict=False)
    return pl.select(
        pl.when(whole.cast(column.dtype) == column)
        .then(whole.cast(pl.String))
        .otherwise(column.cast(pl.String))
        .alias(column.name)
    ).to_series()


def among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Which of some values (N,) are among others, which ascend."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    return ascending[np.searchsorted(ascending, values).clip(max=len(ascending) - 1)] == values


class Groups:
    """Which items are of one group, and when their outcomes became known; read once from the items.

    Parameters
    ----------
    items : DataFrame
        Of a bank, by position: `known_at`, and the column where groups are known.
    column : str
        Whose values are the groups.
    """

    def __init__(self, items: pl.DataFrame, column: str = CREATOR) -> None:
        self.column = column
        self._known_at = items["known_at"].to_numpy()
        self._positions: dict[str, np.ndarray] = {}
        if column in items.columns:
            own = (
                items.select(group=names_of(items[column]), position=pl.int_range(pl.len()))
                .drop_nulls()
                .group_by("group")
                .agg(pl.col("position").sort())
            )
            self._positions = {c: np.array(each, np.int64) for c, each in own.iter_rows()}

    def of(self, videos: pl.DataFrame) -> list[np.ndarray]:
        """Positions of the items whose group is that of each video, ascending.

        None for a video without a group, or where items or `videos` lack the column.
        """
        nothing = np.empty(0, np.int64)
        if self.column not in videos.columns:
            return [nothing] * videos.height
        names = names_of(videos[self.column])
        return [nothing if c is None else self._positions.get(c, nothing) for c in names]

    def latest(
        self,
        videos: pl.DataFrame,
        k: int,
        known_by: np.ndarray | None,
        exclude: Sequence[np.ndarray],
    ) -> Neighbours:
        """The group's videos that a query may be shown, the one that became known last first.

        Parameters
        ----------
        videos : DataFrame
            Q rows of the videos table.
        k : int
            At most so many.
        known_by : ndarray of datetime64[us], shape (Q,), or None
            Only items whose outcome was known by then; without it, all (random splits).
        exclude : sequence of ndarray of int
            Positions that each query is not shown, ascending (`Bank.withheld`).

        Returns
        -------
        Neighbours
            Shapes (Q, k), all scores 0: there is nothing to compare.
        """
        found = Neighbours.nobody(videos.height, k)
        for q, own in enumerate(self.of(videos)):
            own = own[~among(own, exclude[q])]
            known_at = self._known_at[own]
            if known_by is not None:
                own, known_at = own[known_at <= known_by[q]], known_at[known_at <= known_by[q]]
            own = own[np.argsort(-known_at.astype(np.int64), kind="stable")][:k]
            found.index[q, : len(own)] = own
        return found
