"""The clauses of the information contract that a search can break, counted (docs/model.md, 2)."""

import numpy as np
import polars as pl

from m3tr.data.duplicates import likenesses, near_duplicates
from m3tr.memory.bank import Bank
from m3tr.memory.groups import names_of
from m3tr.memory.neighbours import Neighbours


def violations(
    bank: Bank,
    queries: pl.DataFrame,
    neighbours: Neighbours,
    held_out: set[str],
    causal: bool,
    group_by: str | None = None,
) -> dict[str, int]:
    """Count forbidden neighbours; every number must be 0.

    Parameters
    ----------
    bank : Bank
    queries : DataFrame
        `video_id`, `observed_at`, and `title`, `creator_id`, `media` where there are any; one row a
        query.
    neighbours : Neighbours
        What the search returned for `queries`.
    held_out : set of str
        Videos of the validation and test splits, which must be in no bank.
    causal : bool
        Whether the split is temporal, so that outcomes must be known by the query's clock.
    group_by : str, optional
        Column of items and queries whose groups the split keeps whole.
    """
    row, place = np.nonzero(neighbours.found)
    item = neighbours.index[row, place]
    items = bank.items
    late = bank.known_at(item) > queries["observed_at"].to_numpy()[row]
    same = items["video_id"].to_numpy()[item] == queries["video_id"].to_numpy()[row]
    return {
        "outcome not known by the clock": int(late.sum()) if causal else 0,
        "the query itself": int(same.sum()),
        "a near-duplicate": _alike(items, queries, item, row),
        "a video of its own group": _grouped(items, queries, group_by, item, row),
        "held-out videos in the bank": len(held_out.intersection(items["video_id"])),
    }


def _grouped(
    items: pl.DataFrame,
    queries: pl.DataFrame,
    column: str | None,
    item: np.ndarray,
    row: np.ndarray,
) -> int:
    """Pairs (item, query's row) of one group."""
    if column is None or column not in items.columns or column not in queries.columns:
        return 0
    mine, its = names_of(queries[column])[row], names_of(items[column])[item]
    return int((mine == its).sum())


def _alike(items: pl.DataFrame, queries: pl.DataFrame, item: np.ndarray, row: np.ndarray) -> int:
    """Pairs (item, query's row) where the query is like some item of the item's group.

    From the names themselves: the search looks up digests of them.
    """
    groups = items.select("video_id").join(
        near_duplicates(items), on="video_id", how="left", maintain_order="left"
    )["group"]
    marks = likenesses(items).with_columns(groups)
    asked = likenesses(queries).with_row_index("row")
    pairs = pl.DataFrame(
        {"row": row.astype(np.uint32), "group": groups.to_numpy()[item]},
        schema={"row": pl.UInt32, "group": pl.Int64},
    )
    hits = [
        pairs.with_row_index("pair")
        .join(asked.select("row", mark).drop_nulls(), on="row")
        .join(marks.select("group", mark).drop_nulls().unique(), on=["group", mark], how="semi")
        for mark in ("text", "media")
    ]
    return pl.concat([hit.select("pair") for hit in hits])["pair"].n_unique()
