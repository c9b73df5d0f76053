"""Clause 1: a query uses no feedback row after its clock. End to end, bit by bit."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from m3tr.data.windows import observed
from m3tr.model.blend import Blend

HEADS = 5  # the network, and for each target boosted trees and a forest


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_after_the_clock_changes_a_forecast(tiny_forecaster, after_clocks, seed):
    later = after_clocks(seed=seed)
    assert later.height != tiny_forecaster.feedback.height
    before, after = tiny_forecaster.predict(), tiny_forecaster.predict(feedback=later)
    assert after.equals(before)


def test_nor_under_one_calendar_clock(tiny_forecaster, after_clocks):
    """Ages then differ by video: some are a few hours old, some weeks."""
    clock = tiny_forecaster.part("test")["published_at"].max() + timedelta(hours=3)
    later = after_clocks(clock)
    before = tiny_forecaster.predict(observed_at=clock)
    assert tiny_forecaster.predict(feedback=later, observed_at=clock).equals(before)
    own_clocks = tiny_forecaster.predict(feedback=later)  # these rows are not late for everyone
    assert not own_clocks.equals(tiny_forecaster.predict())


def test_nor_the_numbers_a_forecast_is_made_of(tiny_forecaster, after_clocks):
    f, videos = tiny_forecaster.forecaster, tiny_forecaster.part("test")
    features, later = tiny_forecaster.features, after_clocks()
    for clock in (None, videos["published_at"].max() + timedelta(hours=3)):
        table = later if clock is None else after_clocks(clock)
        one = f.queries(videos, tiny_forecaster.feedback, clock, features)
        two = f.queries(videos, table, clock, features)
        assert two.observed.equals(one.observed)
        assert np.array_equal(two.x_s, one.x_s)
        assert np.array_equal(f.covariates(two), f.covariates(one))
        assert np.array_equal(f.retrieve(two).index, f.retrieve(one).index)


def test_nor_any_head_nor_the_intervals(every_head, after_clocks):
    """Whatever the blend follows: each correction by itself, quantiles, the creator's videos."""
    f, videos = every_head.forecaster, every_head.part("test")
    features = every_head.features
    for clock in (None, videos["published_at"].max() + timedelta(hours=3)):
        one = f.queries(videos, every_head.feedback, clock, features)
        two = f.queries(videos, after_clocks(clock, seed=2), clock, features)
        found, again = f.retrieve(one), f.retrieve(two)
        assert np.array_equal(f.earlier(two).index, f.earlier(one).index)
        inputs, later = f.inputs(one, found), f.inputs(two, again)
        assert np.array_equal(later.summary, inputs.summary)
        assert np.array_equal(later.base, inputs.base)
        heads, after = f.corrections(inputs), f.corrections(later)
        assert len(heads) == len(after) == HEADS
        for before, now in zip(heads.values(), after.values(), strict=True):
            assert np.array_equal(now, before) and np.ptp(before) > 0
        one, two = (
            f.intervals.quantiles(each.everything, f.forecast_inputs(each))
            for each in (inputs, later)
        )
        assert np.array_equal(two, one)


def test_nor_a_forecast_by_one_head_alone(every_head, after_clocks):
    f, later, alone = every_head.forecaster, after_clocks(seed=3), []
    for weights in np.eye(HEADS):
        blend = Blend.from_arrays({"weights": weights})
        tiny = replace(every_head, forecaster=replace(f, blend=blend))
        before = tiny.predict()
        assert tiny.predict(feedback=later).equals(before)
        alone.append(before["increment"].to_numpy())
    assert not any(np.array_equal(a, b) for a, b in combinations(alone, 2))


def test_a_row_at_the_clock_does_change_it(tiny_forecaster, with_rows):
    """The same rewriting one microsecond earlier is seen: the test above can fail."""
    examples = tiny_forecaster.examples.filter(pl.col("split") == "test")
    seen, before = observed(tiny_forecaster.feedback, examples).height, tiny_forecaster.predict()
    for shift, same in ((timedelta(microseconds=1), True), (timedelta(0), False)):
        more = with_rows(shift, 500)
        assert (observed(more, examples).height == seen) == same
        assert tiny_forecaster.predict(feedback=more).equals(before) == same


def test_nothing_of_other_videos_changes_a_forecast(tiny_forecaster):
    """A forecast needs the rows of its own videos only; the rest is in the model."""
    own = tiny_forecaster.part("test")["video_id"].to_list()
    mine = tiny_forecaster.feedback.filter(pl.col("video_id").is_in(own))
    assert tiny_forecaster.predict(feedback=mine).equals(tiny_forecaster.predict())
