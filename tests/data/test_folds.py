"""Folds of the random split, rolling origins and cuts in the calendar."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3tr.data.settings import TaskSettings
from m3tr.data.splits import assign_splits
from m3tr.data.windows import make_examples
from m3tr.errors import InputError

START = datetime(2024, 1, 1, tzinfo=UTC)
FIVE = {"split": "random", "group_by": "creator_id", "fractions": (0.72, 0.08, 0.2)}


def tables(n, creators=None):
    ids = [f"v{i:03d}" for i in range(n)]
    observed_at = [START + timedelta(days=i) for i in range(n)]
    examples = pl.DataFrame(
        {"video_id": ids, "observed_at": observed_at, "known_at": observed_at}
    ).with_columns(pl.col("known_at") + timedelta(hours=12))
    return examples, pl.DataFrame({"video_id": ids, "creator_id": creators or ids})


def world(n):
    """A video a day, each with a view every six hours of its first four days."""
    ids = [f"v{i:03d}" for i in range(n)]
    born = [START + timedelta(days=i) for i in range(n)]
    videos = pl.DataFrame({"video_id": ids, "published_at": born})
    feedback = videos.join(pl.DataFrame({"h": range(6, 97, 6)}), how="cross").select(
        "video_id",
        time=pl.col("published_at") + pl.duration(hours="h"),
        kind=pl.lit("view"),
        count=pl.lit(1, pl.Int64),
    )
    return videos, feedback


def task(**changes):
    return TaskSettings(**({"observe": {"age": "1d"}, "horizons": ["2d"]} | changes))


def part(examples, name):
    return examples.filter(pl.col("split") == name)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=60, max_size=90), st.integers(0, 5))
def test_the_test_parts_of_the_folds_are_disjoint_and_cover(sizes, seed):
    creators = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    examples, videos = tables(len(creators), creators)
    tested = []
    for fold in range(5):
        divided, figures = assign_splits(examples, videos, task(**FIVE, seed=seed, fold=fold))
        assert figures["fold"] == fold
        assert divided["video_id"].sort().equals(examples["video_id"])
        sides = divided.join(videos, on="video_id").group_by("creator_id")
        assert sides.agg(pl.col("split").n_unique())["split"].max() == 1
        tested += part(divided, "test")["video_id"].to_list()
    assert sorted(tested) == examples["video_id"].to_list()


def test_every_fold_has_its_fractions_and_the_first_is_the_plain_split():
    examples, videos = tables(1003)
    for fold in range(5):
        _, figures = assign_splits(examples, videos, task(**FIVE, fold=fold))
        assert figures["train"] == pytest.approx(722, abs=1)
        assert figures["validation"] == pytest.approx(80, abs=1)
        assert figures["test"] == pytest.approx(200.6, abs=1)
    first, _ = assign_splits(examples, videos, task(**FIVE))
    halves, _ = assign_splits(examples, videos, task(**FIVE | {"fractions": (0.72, 0.18, 0.1)}))
    # a smaller test share is the end of the same order
    assert set(part(halves, "test")["video_id"]) < set(part(first, "test")["video_id"])


def test_a_fold_does_not_depend_on_the_order_of_the_rows():
    examples, videos = tables(200, [str(i % 37) for i in range(200)])
    divided, _ = assign_splits(examples, videos, task(**FIVE, fold=3))
    again, _ = assign_splits(
        examples.reverse(), videos.sample(fraction=1, shuffle=True, seed=0), task(**FIVE, fold=3)
    )
    assert again.sort("video_id").equals(divided.sort("video_id"))


@pytest.mark.parametrize("origin", [0.5, 0.6, 0.7, 0.8])
def test_an_origin_tests_the_next_tenth_and_leaves_out_what_is_later(origin):
    examples, videos = tables(100)
    fractions = (origin - 0.1, 0.1, 0.1)
    divided, figures = assign_splits(
        examples.reverse(), videos, task(fractions=fractions, embargo=False)
    )
    end = round(100 * origin)
    assert part(divided, "test")["observed_at"].sort().to_list() == [
        START + timedelta(days=d) for d in range(end, end + 10)
    ]
    assert figures["left_out_after_test"] == 90 - end
    assert divided.height == end + 10


def test_an_origin_before_the_data_is_told():
    examples, videos = tables(3)
    with pytest.raises(InputError, match="too few to fill"):
        assign_splits(examples, videos, task(fractions=(0.2, 0.1, 0.1)))


def test_nothing_later_than_the_test_part_changes_an_origin():
    videos, feedback = world(60)
    settings_ = task(fractions=(0.4, 0.1, 0.1), observed_until=START + timedelta(days=99))
    examples, _ = make_examples(videos, feedback, settings_)
    last = examples["known_at"].max()
    louder = feedback.with_columns(
        count=pl.when(pl.col("time") > last).then(pl.col("count") * 50).otherwise(pl.col("count"))
    )
    changed, _ = make_examples(videos, louder, settings_)
    assert changed.equals(examples)
    silent, _ = make_examples(videos, feedback.filter(pl.col("time") <= last), settings_)
    assert silent.equals(examples)
    assert examples["published_at"].max() < START + timedelta(days=36)


def test_cuts_are_times():
    examples, videos = tables(100)
    days = [START + timedelta(days=d) for d in (50, 60, 90)]
    divided, figures = assign_splits(examples, videos, task(cuts=days))
    assert part(divided, "train")["observed_at"].max() == START + timedelta(days=49)
    assert part(divided, "validation")["observed_at"].min() == days[0]
    assert part(divided, "test")["observed_at"].to_list() == [
        START + timedelta(days=d) for d in range(60, 90)
    ]
    assert (figures["left_out_after_test"], figures["train"]) == (10, 50)
    open_end, _ = assign_splits(examples, videos, task(cuts=days[:2]))
    assert part(open_end, "test").height == 40
    assert TaskSettings.model_validate(task(cuts=days).model_dump(mode="json")) == task(cuts=days)


def test_cuts_outside_the_data_are_told():
    examples, videos = tables(30)
    with pytest.raises(InputError, match=r"no example is observed in the test part of task\.cuts"):
        assign_splits(examples, videos, task(cuts=["2024-01-10", "2024-03-01"]))
