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
    item = np.where(found, neighbours.index, 0)
    known_at = bank.items["known_at"].to_numpy()[item]
    ids = bank.items["video_id"].to_numpy()[item]
    groups = bank.items["group"].to_numpy()[item]
    late = known_at > queries["observed_at"].to_numpy()[:, None]
    return {
        "outcome not known by the clock": int((late & found).sum()) if causal else 0,
        "the query itself": int(((ids == queries["video_id"].to_numpy()[:, None]) & found).sum()),
        "a near-duplicate": int(((groups == queries["group"].to_numpy()[:, None]) & found).sum()),
        "held-out videos in the bank": len(held_out.intersection(bank.items["video_id"])),
    }
