"""Training videos at other ages: labels by a direct count, and nothing after the age is seen."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from m3tr.data.settings import TaskSettings
from m3tr.data.windows import labelled
from m3tr.model.queries import temporal_representation
from m3tr.training.ages import at_other_ages


@pytest.fixture(scope="module")
def other_ages(tiny_forecaster):
    """`other_ages(multiples, task=..., ...)` of the tiny world."""
    t = tiny_forecaster

    def make(multiples, **parts):
        asked = {"videos": t.videos, "feedback": t.feedback, "examples": t.examples}
        asked |= {"features": t.features, "mhp": t.forecaster.mhp, "task": t.task} | parts
        return at_other_ages(**asked, multiples=multiples)

    return make


def own_ages(queries):
    """The age, days, of each set of queries; one each."""
    ages = [q.examples["age_days"].unique().to_list() for q in queries]
    assert all(len(age) == 1 for age in ages)
    return [age[0] for age in ages]


def training(tiny):
    """Ids of the training split."""
    return tiny.examples.filter(pl.col("split") == "train")["video_id"].to_list()


def test_labels_are_counted_from_that_age_to_the_same_horizons(tiny_forecaster, other_ages):
    several = other_ages([0.5, 0.7, 1.4])
    assert np.allclose(own_ages(several), [0.5, 0.7, 1.4])
    rows = tiny_forecaster.feedback.to_dicts()
    changed = 0
    for queries in several:
        for row in queries.examples.to_dicts():
            born = row["published_at"]
            clock = born + timedelta(days=row["age_days"])
            assert row["observed_at"] == clock and row["horizon_days"] == [2.0, 4.0]
            mine = [r for r in rows if r["video_id"] == row["video_id"]]
            for h, days in enumerate((2, 4)):
                end = born + timedelta(days=days)
                n = sum(
                    r["count"] for r in mine if r["kind"] == "view" and clock < r["time"] <= end
                )
                assert row["increment"][h] == pytest.approx(np.log2(1 + n), abs=1e-9)
            assert row["known_at"] == born + timedelta(days=4)
        own = queries.examples.join(tiny_forecaster.examples, on="video_id")
        changed += (own["increment"] != own["increment_right"]).sum()
    assert changed > 100


def test_only_training_videos_and_each_once(tiny_forecaster, other_ages):
    for queries in other_ages([0.5, 1.4]):
        assert queries.examples["video_id"].to_list() == training(tiny_forecaster)
        assert queries.videos["video_id"].to_list() == training(tiny_forecaster)
        assert queries.features.ids == training(tiny_forecaster)
        assert len(queries.x_s) == len(training(tiny_forecaster))


def test_what_is_seen_ends_at_that_age(tiny_forecaster, other_ages):
    several = other_ages([0.5, 0.7, 1.4])
    for queries, age in zip(several, own_ages(several), strict=True):
        seen = queries.observed
        assert 0.8 * age < seen["age_days"].max() <= age + 1e-9
        expected = tiny_forecaster.feedback.join(
            queries.examples.select("video_id", "observed_at"), on="video_id"
        ).filter(pl.col("time") <= pl.col("observed_at"))
        assert seen.height == expected.height > 0
    for less, more in pairwise(several):
        assert less.observed.height < more.observed.height
        assert not np.allclose(less.x_s, more.x_s)


def test_later_rows_change_labels_but_not_what_is_seen(tiny_forecaster, other_ages):
    (before,) = other_ages([0.5])
    clocks = before.examples.select("video_id", "observed_at")
    more = clocks.select(
        "video_id",
        time=pl.col("observed_at") + timedelta(microseconds=1),
        kind=pl.lit("view"),
        count=pl.lit(1000, dtype=pl.Int64),
    )
    columns = tiny_forecaster.feedback.columns
    (after,) = other_ages(
        [0.5], feedback=pl.concat([tiny_forecaster.feedback, more.select(columns)])
    )
    assert np.array_equal(after.x_s, before.x_s) and after.observed.equals(before.observed)
    grown = 2 ** np.array(after.examples["increment"].to_list())
    assert np.allclose(grown - 2 ** np.array(before.examples["increment"].to_list()), 1000)


def test_the_representation_is_that_of_the_video_alone_at_that_age(tiny_forecaster, other_ages):
    """Under a calendar clock, at which the video happens to be so old."""
    f = tiny_forecaster.forecaster
    (queries,) = other_ages([0.5])
    late = tiny_forecaster.examples["known_at"].max()
    for i in (0, 7, 20):
        video = queries.videos[i : i + 1]
        clock = video["published_at"][0] + timedelta(days=0.5)
        leads = (timedelta(days=1.5), timedelta(days=3.5))
        task = TaskSettings(observe={"until": clock}, horizons=leads, split="random")
        example, _ = labelled(video, tiny_forecaster.feedback, task, late)
        assert np.allclose(example["increment"][0].to_list(), queries.examples["increment"][i])
        alone = f.queries(video, tiny_forecaster.feedback, clock, tiny_forecaster.features)
        mine = pl.col("video_id") == video["video_id"][0]
        assert alone.observed.equals(queries.observed.filter(mine))
        x_s = temporal_representation(f.mhp, alone.observed, example)
        assert np.allclose(x_s[0], queries.x_s[i], atol=1e-5)


def test_ages_that_reach_the_first_horizon_give_nothing(other_ages):
    assert other_ages([2.0, 3.0, 1e6]) == []  # the first horizon is at twice the age
    assert np.allclose(own_ages(other_ages([2.0, 1.999, 0.5])), [0.5, 1.999])


def test_the_own_age_is_no_other_and_none_comes_twice(other_ages):
    assert other_ages([1.0]) == [] and other_ages([]) == []
    assert np.allclose(own_ages(other_ages([0.5, 0.5, 1.0, 0.25])), [0.25, 0.5])


def test_neither_a_calendar_clock_nor_a_cold_start_has_other_ages(tiny_forecaster, other_ages):
    until = tiny_forecaster.examples["observed_at"].max()
    clock = {"observe": {"until": until}, "horizons": ["2d"], "split": "random"}
    assert other_ages([0.5, 1.5], task=TaskSettings(target="view", **clock)) == []
    cold = TaskSettings(target="view", observe={"age": 0}, horizons=["2d", "4d"])
    assert other_ages([0.5, 1.5], task=cold) == []


@pytest.mark.parametrize("least", [1, 4, 10])
def test_a_video_counts_where_it_had_the_events(tiny_forecaster, other_ages, least):
    task = tiny_forecaster.task.model_copy(update={"min_events": least})
    videos = tiny_forecaster.part("train")
    number = []
    for multiple in (0.1, 0.5, 1.5):
        age = timedelta(days=multiple)
        (queries,) = other_ages([multiple], task=task)
        clocks = videos.select("video_id", clock=pl.col("published_at") + age)
        seen = tiny_forecaster.feedback.join(clocks, on="video_id")
        seen = seen.filter(pl.col("time") <= pl.col("clock"))
        n = seen.group_by("video_id").len().filter(pl.col("len") >= least)
        expected = set(n["video_id"])
        assert set(queries.examples["video_id"]) == expected
        number.append(len(expected))
    assert number[0] < number[1] <= number[2] <= videos.height


def test_where_no_video_had_the_events_there_is_nothing(tiny_forecaster, other_ages):
    task = tiny_forecaster.task.model_copy(update={"min_events": 10**6})
    assert other_ages([0.5, 1.5], task=task) == []


def test_kinds_that_the_process_does_not_know_are_not_seen(tiny_forecaster, other_ages):
    (before,) = other_ages([0.5])
    odd = tiny_forecaster.feedback.with_columns(kind=pl.lit("odd"))
    (after,) = other_ages([0.5], feedback=pl.concat([tiny_forecaster.feedback, odd]))
    assert after.observed.equals(before.observed)
