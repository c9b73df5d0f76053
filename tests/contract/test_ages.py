"""Clause 3 at younger ages: a query meets the items as they were when they were as young."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.data.windows import observed
from m3tr.model.queries import keys_at_ages


def at_age(tiny, videos, days, feedback=None):
    """Queries for videos of one age, whatever their publication."""
    f = tiny.forecaster
    rows = []
    for video in videos.iter_slices(1):
        clock = video["published_at"][0] + timedelta(days=days)
        rows.append(
            f.queries(video, tiny.feedback if feedback is None else feedback, clock, tiny.features)
        )
    return rows


@pytest.fixture(scope="module")
def own(tiny_forecaster):
    """The observation age of the task, days."""
    return tiny_forecaster.task.observe.age / timedelta(days=1)


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0.25, 0.25), (0.3, 0.25), (0.5, 0.5), (0.999, 0.5), (1, None), (1.7, None)],
)
def test_a_bank_video_asked_again_has_the_key_that_the_bank_holds(
    tiny_forecaster, own, days, expected
):
    """What it was at the last age of the bank that it has reached: neither older nor younger."""
    f = tiny_forecaster.forecaster
    assert f.bank.manifest.younger == [0.25, 0.5] and own == 1
    place = {video: i for i, video in enumerate(f.bank.items["video_id"])}
    stored = f.bank.keys.trajectory if expected is None else f.bank.keys.younger[expected]
    for query in at_age(tiny_forecaster, tiny_forecaster.part("train")[10:16], days):
        keys, ages = f.keys(query)
        assert np.array_equal(ages, [np.nan if expected is None else expected], equal_nan=True)
        item = place[query.videos["video_id"][0]]
        assert np.allclose(keys.trajectory[0], stored[item], atol=1e-6)


def test_younger_than_every_age_there_is_no_trajectory_to_compare(tiny_forecaster):
    f = tiny_forecaster.forecaster
    for query in at_age(tiny_forecaster, tiny_forecaster.part("test")[:3], 0.2):
        keys, ages = f.keys(query)
        assert not keys.trajectory.any() and np.isnan(ages).all()
        found = f.retrieve(query)
        assert found.found.any() and not found.trajectory.any()


def test_the_keys_of_an_age_know_nothing_later(tiny_forecaster):
    """Feedback after the age is rewritten, and neither items nor queries are met otherwise."""
    f = tiny_forecaster.forecaster
    videos, age = tiny_forecaster.part("train")[:12], 0.5
    born = tiny_forecaster.feedback.join(
        tiny_forecaster.videos.select("video_id", "published_at"), on="video_id"
    )
    later = pl.col("time") > pl.col("published_at") + timedelta(days=age)
    other = born.with_columns(
        count=pl.when(later).then(pl.col("count") * 50 + 3).otherwise("count")
    ).drop("published_at")
    one = at_age(tiny_forecaster, videos, 0.8)
    two = at_age(tiny_forecaster, videos, 0.8, other)
    changed = 0
    for before, after in zip(one, two, strict=True):
        changed += not before.observed.equals(after.observed)
        a, b = (f.keys(query)[0].trajectory for query in (before, after))
        assert np.array_equal(a, b)
    assert changed > 3  # the rewriting is not an idle one


def test_queries_of_several_ages_are_answered_as_one_by_one(tiny_forecaster, tiny_queries):
    f = tiny_forecaster.forecaster
    test = tiny_queries["test"]
    ages = np.resize([0.2, 0.25, 0.6, 1.0, 1.5], len(test.x_s))
    mixed = test.examples.with_columns(
        age_days=pl.Series(ages),
        observed_at=pl.col("published_at")
        + pl.duration(microseconds=pl.Series((ages * 86_400e6).astype(int))),
    )
    seen = observed(tiny_forecaster.feedback, mixed)
    whole = type(test)(mixed, test.videos, seen, test.features, test.x_s)
    keys, at = keys_at_ages(whole, f.compared(whole), f.key_maker, f.mhp, 1.0)
    for i in range(len(ages)):
        one = whole.select(np.array([i]))
        alone, age = keys_at_ages(one, f.compared(one), f.key_maker, f.mhp, 1.0)
        assert np.allclose(alone.trajectory[0], keys.trajectory[i], atol=1e-6)
        assert np.array_equal(age, at[[i]], equal_nan=True)
    assert set(at[~np.isnan(at)]) == {0.25, 0.5}
