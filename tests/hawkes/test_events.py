"""Feedback rows to padded sequences."""

import numpy as np
import polars as pl
import pytest
import torch

from m3tr.errors import InputError
from m3tr.hawkes.events import batch, buckets, ties

FRAME = pl.DataFrame(
    {
        "sequence": ["b", "a", "b", "b", "other"],
        "time": [0.5, 1.0, 0.25, 0.5, 9.0],
        "kind": ["view", "like", "view", "like", "view"],
        "count": [3, 1, 2, 5, 1],
    }
)


def test_rows_land_where_they_belong():
    found = batch(FRAME, ["a", "none", "b"], [2.0, 0.0, 1.0], ["like", "view"])
    assert found.time.tolist() == [[1.0, 0, 0], [0, 0, 0], [0.25, 0.5, 0.5]]
    assert found.kind.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert found.count.tolist() == [[1, 0, 0], [0, 0, 0], [2, 5, 3]]
    assert found.mask.sum(1).tolist() == found.lengths.tolist() == [1, 0, 3]
    assert found.end.tolist() == [2.0, 0.0, 1.0] and found.time.dtype == torch.float64


def test_order_of_rows_is_irrelevant_and_count_defaults_to_one():
    one = batch(FRAME, ["b"], [1.0], ["like", "view"])
    two = batch(FRAME.reverse(), ["b"], [1.0], ["like", "view"])
    assert all(torch.equal(getattr(one, f), getattr(two, f)) for f in ("time", "kind", "count"))
    plain = batch(FRAME.drop("count"), ["b"], [1.0], ["like", "view"])
    assert plain.count.tolist() == [[1, 1, 1]]


def test_ties_are_grouped_and_the_stretches_fill_the_window():
    tied = ties(batch(FRAME, ["a", "none", "b"], [2.0, 0.5, 1.0], ["like", "view"]), 2, "log")
    assert tied.mask.tolist() == [[True, False], [False, False], [True, True]]
    assert tied.group[2].tolist() == [0, 1, 1]
    assert tied.number[2].tolist() == [[0, 1], [1, 1]]
    assert tied.total[2].tolist() == [[0, 2], [5, 3]]
    assert np.allclose(tied.mark[2], np.log2([[1, 3], [6, 4]]))
    assert tied.step.tolist() == [[1.0, 1.0, 0.0], [0.5, 0.0, 0.0], [0.25, 0.25, 0.5]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (pl.lit("share").alias("kind"), "kind 'share'.*not one of"),
        (pl.lit(-0.1).alias("time"), "before the start"),
        (pl.lit(1.1).alias("time"), "after the end of its window"),
        (pl.lit(None, dtype=pl.Float64).alias("time"), "missing"),
        (pl.lit(0).alias("count"), "not positive"),
    ],
)
def test_a_bad_row_is_named(change, text):
    with pytest.raises(InputError, match=text):
        batch(FRAME.with_columns(change), ["b"], [1.0], ["like", "view"])


def test_the_row_is_that_of_the_whole_table():
    count = pl.when(pl.col("kind") == "like").then(0).otherwise(1).alias("count")
    with pytest.raises(InputError, match="row 3 .*sequence 'b'"):
        batch(FRAME.with_columns(count), ["b"], [1.0], ["like", "view"])


def test_bad_arguments():
    with pytest.raises(InputError, match="'kind' is missing"):
        batch(FRAME.drop("kind"), ["b"], [1.0], ["like"])
    with pytest.raises(InputError, match="twice"):
        batch(FRAME, ["b", "b"], [1.0, 1.0], ["like", "view"])
    with pytest.raises(InputError, match="end of its window"):
        batch(FRAME, ["b"], [float("nan")], ["like", "view"])


def test_buckets_cover_all_rows_once():
    lengths = torch.randint(0, 1000, (257,), generator=torch.Generator().manual_seed(0))
    for generator in (None, torch.Generator().manual_seed(1)):
        parts = buckets(lengths, 32, generator)
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(257))
        assert max(len(part) for part in parts) == 32
        spread = [float((lengths[p].max() + 1) / (lengths[p].min() + 1)) for p in parts]
        assert np.median(spread) < 1.5
