"""Splits: temporal order, embargo, whole groups, no dependence on row order."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3tr.data.settings import TaskSettings
from m3tr.data.splits import assign_splits
from m3tr.errors import InputError

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def tables(days, creators=None):
    ids = [f"v{i:03d}" for i in range(len(days))]
    observed_at = [START + timedelta(days=d) for d in days]
    examples = pl.DataFrame(
        {
            "video_id": ids,
            "observed_at": observed_at,
            "known_at": [t + 6 * DAY for t in observed_at],
        }
    )
    return examples, pl.DataFrame({"video_id": ids, "creator_id": creators or ids})


def task(**changes):
    base = {"observe": {"age": "1d"}, "horizons": ["7d"]}
    return TaskSettings(**(base | changes))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=30, max_size=120), st.booleans())
def test_the_temporal_split_keeps_the_order_of_time(days, embargo):
    examples, videos = tables(days)
    try:
        divided, figures = assign_splits(examples, videos, task(embargo=embargo))
    except InputError:
        return
    begins = dict(divided.group_by("split").agg(pl.col("observed_at").min()).iter_rows())
    for name, following in (("train", "validation"), ("validation", "test")):
        part = divided.filter(pl.col("split") == name)
        assert part["observed_at"].max() <= begins[following]
        if embargo:
            assert part["known_at"].max() <= begins[following]
    lost = sum(v for k, v in figures.items() if k.startswith("left_out_embargo"))
    assert divided.height + lost == len(days)
    assert lost == 0 or embargo


def test_the_embargo_takes_exactly_what_was_not_known():
    examples, videos = tables(range(100))
    divided, figures = assign_splits(examples, videos, task())
    # outcomes come 6 days late: on day 70 those of the days 65 to 69 are unknown
    assert figures["left_out_embargo_train"] == 5
    assert figures["left_out_embargo_validation"] == 5
    assert (figures["train"], figures["validation"], figures["test"]) == (65, 5, 20)
    assert divided.filter(pl.col("split") == "train")["observed_at"].max() == START + 64 * DAY


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 40).map(str)), min_size=60, max_size=150),
    st.integers(0, 5),
)
def test_no_group_is_on_two_sides(creators, seed):
    examples, videos = tables([0] * len(creators), creators)
    try:
        divided, _ = assign_splits(
            examples, videos, task(split="random", group_by="creator_id", seed=seed)
        )
    except InputError:
        return
    assert divided.height == examples.height
    sides = divided.join(videos, on="video_id").drop_nulls("creator_id")
    assert sides.group_by("creator_id").agg(pl.col("split").n_unique())["split"].max() in (1, None)


def test_the_random_split_has_its_fractions_and_follows_the_seed_only():
    examples, videos = tables(range(1000))
    settings_ = task(split="random")
    divided, figures = assign_splits(examples, videos, settings_)
    assert (figures["train"], figures["validation"], figures["test"]) == (700, 100, 200)
    again, _ = assign_splits(
        examples.reverse(), videos.sample(fraction=1, shuffle=True, seed=0), settings_
    )
    assert again.sort("video_id").equals(divided.sort("video_id"))
    other, _ = assign_splits(examples, videos, task(split="random", seed=8))
    assert not other.sort("video_id").equals(divided.sort("video_id"))
    # not a disguised temporal split
    assert divided.filter(pl.col("split") == "test")["observed_at"].min() < START + 50 * DAY


def test_an_impossible_split_is_told_in_one_sentence():
    examples, videos = tables(range(10))
    with pytest.raises(InputError, match="embargo leaves no train example"):
        assign_splits(examples.with_columns(known_at=START + 99 * DAY), videos, task())
    with pytest.raises(InputError, match="too few to fill the test split"):
        assign_splits(*tables(range(2)), task(embargo=False))
    with pytest.raises(InputError, match="'channel'"):
        assign_splits(examples, videos, task(split="random", group_by="channel"))
