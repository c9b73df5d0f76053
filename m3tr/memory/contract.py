"""The clauses of the information contract that a search can break, counted (docs/model.md, 2)."""

import numpy as np
import polars as pl

from m3tr.memory.bank import Bank, Neighbours


def violations(
    bank: Bank, queries: pl.DataFrame, neighbours: Neighbours, held_out: set[str], causal: bool
) -> dict[str, int]:
    """Count forbidden neighbours; every number must be 0.

    Parameters
    ----------
    bank : Bank
    queries : DataFrame
        `video_id`, `observed_at` and near-duplicate `group`, one row a query.
    neighbours : Neighbours
        What the search returned for `queries`.
    held_out : set of str
        Videos of the validation and test splits, which must be in no bank.
    causal : bool
        Whether the split is temporal, so that outcomes must be known by the query's clock.
    """
    found = neighbours.found
    row, place = np.nonzero(found)
    item = neighbours.index[row, place]

    def of(table: pl.DataFrame, column: str, which: np.ndarray) -> np.ndarray:
        return table[column].to_numpy()[which]

    late = of(bank.items, "known_at", item) > of(queries, "observed_at", row)
    same = of(bank.items, "video_id", item) == of(queries, "video_id", row)
    alike = of(bank.items, "group", item) == of(queries, "group", row)
    return {
        "outcome not known by the clock": int(late.sum()) if causal else 0,
        "the query itself": int(same.sum()),
        "a near-duplicate": int(alike.sum()),
        "held-out videos in the bank": len(held_out.intersection(bank.items["video_id"])),
    }
