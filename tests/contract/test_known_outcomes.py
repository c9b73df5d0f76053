"""Clause 2: an item serves a query only if its outcome was known by the query's clock."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.memory.contract import violations


def known(forecaster, found):
    """known_at of the neighbours, the beginning of time where there is none."""
    at = forecaster.bank.items["known_at"].to_numpy()[found.index]
    return np.where(found.found, at, np.datetime64("1970-01-01", "us"))


def same(one, two):
    """Whether two inputs of the network agree bit by bit."""
    pairs = [(one.everything, two.everything), (one.base, two.base)]
    for m in one.video.x:
        pairs += [(one.video.x[m], two.video.x[m]), (one.retrieved.x[m], two.retrieved.x[m])]
        pairs += [(one.retrieved.mask[m], two.retrieved.mask[m])]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_no_neighbour_whose_outcome_lies_ahead(tiny_forecaster, tiny_queries, split):
    f, queries = tiny_forecaster.forecaster, tiny_queries[split]
    found = f.retrieve(queries)
    tau = queries.examples["observed_at"].to_numpy()
    assert (known(f, found) <= tau[:, None]).all()
    # whoever may see k items sees k; the first training videos see fewer, or none
    allowed = (f.bank.items["known_at"].to_numpy()[None] <= tau[:, None]).sum(1)
    assert (found.found.sum(1) >= np.minimum(allowed - 1, f.bank_settings.k)).all()
    if split == "train":
        assert allowed.min() == 0 and not found.found[allowed == 0].any()


def test_known_at_is_the_end_of_the_farthest_horizon(tiny_forecaster):
    bank = tiny_forecaster.forecaster.bank.items.join(tiny_forecaster.videos, on="video_id")
    assert (bank["known_at"] == bank["published_at"] + timedelta(days=4)).all()


def test_at_an_early_clock_the_bank_is_empty(tiny_forecaster):
    f, task = tiny_forecaster.forecaster, tiny_forecaster.task
    first = f.bank.items["known_at"].min()
    for clock, expected in ((first - timedelta(microseconds=1), 0), (first, 1)):
        young = tiny_forecaster.videos.filter(pl.col("published_at") <= clock)
        # one that is not the first item itself
        video = young.filter(~pl.col("video_id").is_in(f.bank.items["video_id"][:1]))[:1]
        assert video.height == 1 and task.split == "temporal"
        queries = f.queries(video, tiny_forecaster.feedback, clock, tiny_forecaster.features)
        assert f.retrieve(queries).found.sum() == expected
        out = tiny_forecaster.predict(videos=video, observed_at=clock)
        assert out["increment"].is_finite().all()


def test_an_item_that_becomes_known_later_disappears(tiny_forecaster, tiny_queries, rebuilt):
    f = tiny_forecaster.forecaster
    query = tiny_queries["test"].select(np.array([5]))
    tau = query.examples["observed_at"][0]
    before = f.retrieve(query)
    ids = f.bank.items["video_id"].to_numpy()
    best = ids[before.index[0, 0]]
    for moment, there in ((tau, True), (tau + timedelta(microseconds=1), False)):
        is_best = pl.col("video_id") == best
        items = f.bank.items.with_columns(
            known_at=pl.when(is_best)
            .then(pl.lit(moment).dt.cast_time_unit("us"))
            .otherwise("known_at")
        )
        other = replace(f, bank=rebuilt(f.bank, items=items))
        found = other.retrieve(query)
        now = other.bank.items["video_id"].to_numpy()[found.index[0]].tolist()
        assert found.found.all()
        was = ids[before.index[0]].tolist()
        assert (best in now) == there
        assert now == was if there else now[:-1] == was[1:]
        # ... and what the forecast is made from does not hold it
        assert same(other.inputs(query, found), f.inputs(query, before)) == there


def test_what_lies_ahead_of_a_query_never_reaches_its_forecast(
    tiny_forecaster, tiny_queries, rebuilt
):
    """Labels, residuals and tokens of items not yet known are replaced by nonsense."""
    f, queries = tiny_forecaster.forecaster, tiny_queries["train"]
    rows = np.arange(15, 25)
    early = queries.select(rows)
    clock = early.examples["observed_at"].max()
    ahead = (f.bank.items["known_at"] > clock).to_numpy()
    assert ahead.any()
    rng = np.random.default_rng(0)

    def nonsense(value):
        odd = rng.permutation(value[ahead])
        odd = ~odd if odd.dtype == bool else odd * 100 + 7
        new = value.copy()
        new[ahead] = odd
        return new

    values = {name: nonsense(value) for name, value in f.bank.values.items()}
    other = replace(f, bank=rebuilt(f.bank, values=values))
    one, two = f.retrieve(early), other.retrieve(early)
    assert same(f.inputs(early, one), other.inputs(early, two))
    # the nonsense is there for whoever may see it
    late = tiny_queries["test"]
    assert not same(f.inputs(late, f.retrieve(late)), other.inputs(late, other.retrieve(late)))


def test_the_random_split_says_so_and_shows_all(tiny_forecaster, tiny_queries):
    f, queries = tiny_forecaster.forecaster, tiny_queries["train"]
    free = replace(f, task=f.task.model_copy(update={"split": "random"}))
    found = free.retrieve(queries)
    assert found.found.all()
    groups = queries.examples
    late = "outcome not known by the clock"
    assert violations(f.bank, groups, found, set(), True)[late] > 0
    assert violations(f.bank, groups, f.retrieve(queries), set(), True)[late] == 0
