"""Clauses 2 and 4 for a group's videos: none ahead of the clock, none where groups stay whole."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.memory.groups import CREATOR
from m3tr.model.forecaster import EARLIER
from m3tr.model.remember import matured
from tests.conftest import make_queries

SPLITS = ("train", "validation", "test")


@pytest.fixture
def split_as(every_head):
    """`split_as(split, group_by)`: the forecaster as if its task were split so."""
    f = every_head.forecaster
    return lambda split, group_by=None: replace(
        f, task=f.task.model_copy(update={"split": split, "group_by": group_by})
    )


def makers(forecaster, found):
    """Creator of each neighbour, (Q, k); None where there is none."""
    own = forecaster.bank.items[CREATOR].to_numpy()
    return np.where(found.found, own[found.index], None)


def hits(forecaster, queries, found):
    """How many neighbours of each query are by its own creator."""
    return (makers(forecaster, found) == queries.videos[CREATOR].to_numpy()[:, None]).sum(1)


@pytest.mark.parametrize("split", SPLITS)
def test_where_creators_stay_whole_no_query_is_shown_its_own(split_as, tiny_queries, split):
    queries = tiny_queries[split]
    f, free = split_as("random", CREATOR), split_as("random")
    bank = f.bank.items[CREATOR].to_list()
    for video, left_out in zip(queries.videos.to_dicts(), f.withheld(queries), strict=True):
        own = {i for i, c in enumerate(bank) if c is not None and c == video[CREATOR]}
        assert own <= set(left_out.tolist())
    found = f.retrieve(queries)
    assert not hits(f, queries, found).any()
    assert found.found.all()  # the k are full none the less
    assert not f.earlier(queries).found.any()
    # it is the grouping that does it
    assert hits(free, queries, free.retrieve(queries)).any()
    assert free.earlier(queries).found.any()


def test_where_another_column_stays_whole_no_query_is_shown_its_own(tiny_forecaster):
    """The bank is built for that task; a video without a value is withheld from nobody."""
    t, f = tiny_forecaster, tiny_forecaster.forecaster
    series = pl.Series("series", [None, "a", "b", "c", "a", None], pl.String)
    videos = t.videos.with_columns(series.gather(pl.Series(np.arange(t.videos.height) % 6)))
    task = f.task.model_copy(update={"split": "random", "group_by": "series"})
    world = t.world.but(videos=videos, task=task)
    queries, _ = make_queries(world, f.mhp)
    bank, maker, _ = t.remember(world, f.mhp, queries["all"])
    own = replace(f, bank=bank, key_maker=maker, task=task)
    free = replace(own, task=task.model_copy(update={"group_by": None}))
    of_item, of_query = bank.items["series"].to_numpy(), queries["test"].videos["series"].to_numpy()

    def same(found):
        shown = np.where(found.found, of_item[found.index], "none")
        own = np.array(["nobody's" if q is None else q for q in of_query])
        return (shown == own[:, None]).sum()

    grouped, loose = own.retrieve(queries["test"]), free.retrieve(queries["test"])
    assert same(grouped) == 0 < same(loose) and grouped.found.all()
    assert same(own.earlier(queries["test"])) == 0 < same(free.earlier(queries["test"]))
    alone = np.array([value is None for value in of_query])
    assert np.array_equal(grouped.index[alone], loose.index[alone])
    assert own.breaches(queries["test"], grouped, set()) == dict.fromkeys(
        own.breaches(queries["test"], grouped, set()), 0
    )
    assert own.breaches(queries["test"], loose, set())["a video of its own group"] == same(loose)
    # of new videos, too, the bank remembers the group
    new = matured(own, t.part("test").join(videos.select("video_id", "series"), on="video_id"),
                  t.feedback, t.features, held_out=True)  # fmt: skip
    assert new.items["series"].drop_nulls().is_in(["a", "b", "c"]).sum() > 0


def test_whatever_became_of_a_whole_creator_it_is_not_in_its_forecasts(
    split_as, tiny_queries, rebuilt
):
    """All that the bank remembers of the creator's items is replaced by nonsense."""
    f, free = split_as("random", CREATOR), split_as("random")
    creator = f.bank.items[CREATOR].drop_nulls().mode().sort()[0]
    mine = (f.bank.items[CREATOR] == creator).fill_null(False).to_numpy()
    everyone = tiny_queries["all"]
    own = everyone.select(
        (everyone.videos[CREATOR] == creator).fill_null(False).arg_true().to_numpy()
    )
    assert mine.sum() > 1 and len(own.x_s) > 1

    def nonsense(value):
        new = value.copy()
        new[mine] = ~new[mine] if new.dtype == bool else 100 * new[mine] + 7
        return new

    bank = rebuilt(f.bank, values={n: nonsense(value) for n, value in f.bank.values.items()})

    def corrections(forecaster):
        inputs = forecaster.inputs(own, forecaster.retrieve(own))
        return forecaster.corrections(inputs).values()

    same = zip(corrections(replace(f, bank=bank)), corrections(f), strict=True)
    assert [np.array_equal(a, b) for a, b in same] == [True] * 5
    seen = zip(corrections(replace(free, bank=bank)), corrections(free), strict=True)
    assert [np.array_equal(a, b) for a, b in seen] == [False] * 5


@pytest.mark.parametrize("split", SPLITS)
def test_earlier_videos_of_the_creator_are_those_known_by_the_clock(
    tiny_forecaster, tiny_queries, split
):
    """Item by item: the last ones known, neither itself nor one that is ahead."""
    f, queries = tiny_forecaster.forecaster, tiny_queries[split]
    found, left_out = f.earlier(queries), f.bank.alike(queries.videos)
    items, ahead = f.bank.items.to_dicts(), 0
    for q, (video, asked) in enumerate(
        zip(queries.videos.to_dicts(), queries.examples.to_dicts(), strict=True)
    ):
        own = [
            i
            for i, item in enumerate(items)
            if item[CREATOR] is not None
            and item[CREATOR] == video[CREATOR]
            and item["video_id"] != video["video_id"]
            and i not in left_out[q]
        ]
        allowed = [i for i in own if items[i]["known_at"] <= asked["observed_at"]]
        allowed.sort(key=lambda i: items[i]["known_at"], reverse=True)
        ahead += len(own) - len(allowed)
        assert found.index[q][found.found[q]].tolist() == allowed[:EARLIER]
    assert found.found.any()
    assert ahead > 0 or split != "train"
    assert f.breaches(queries, f.retrieve(queries), set()) == dict.fromkeys(
        f.breaches(queries, found, set()), 0
    )


def test_one_that_becomes_known_a_moment_later_disappears(tiny_forecaster, tiny_queries, rebuilt):
    f = tiny_forecaster.forecaster
    everyone = tiny_queries["test"]
    row = np.flatnonzero(f.earlier(everyone).found.sum(1) > 1)[0]
    query = everyone.select(np.array([row]))
    tau, ids = query.examples["observed_at"][0], f.bank.items["video_id"].to_numpy()
    found = f.earlier(query)
    names = ids[found.index[found.found]].tolist()
    for shift, there in ((0, True), (1, False)):
        moment = pl.lit(tau + timedelta(microseconds=shift)).dt.cast_time_unit("us")
        last = pl.col("video_id") == names[-1]
        items = f.bank.items.with_columns(known_at=pl.when(last).then(moment).otherwise("known_at"))
        other = replace(f, bank=rebuilt(f.bank, items=items))
        now = other.earlier(query)
        got = other.bank.items["video_id"].to_numpy()[now.index[now.found]].tolist()
        assert sorted(got) == sorted(names if there else names[:-1])
        # also in what the forecast is made of: how many there are is its last number
        number = np.array(f.inputs(query, f.retrieve(query)).summary)[0, -1]
        assert (other.inputs(query, other.retrieve(query)).summary[0, -1] == number) == there


def test_a_creator_nobody_knows_and_no_creator_at_all(tiny_forecaster):
    f, videos = tiny_forecaster.forecaster, tiny_forecaster.part("test")
    for creator in (pl.lit("a stranger"), pl.lit(None, pl.String)):
        other = videos.with_columns(creator_id=creator)
        queries = f.queries(other, tiny_forecaster.feedback, None, tiny_forecaster.features)
        assert not f.earlier(queries).found.any()
        assert np.isfinite(f.forecast(queries, f.retrieve(queries))).all()


def test_without_retrieval_nobody_is_shown(tiny_forecaster, tiny_queries):
    f, queries = tiny_forecaster.forecaster, tiny_queries["test"]
    blind = replace(f, bank_settings=f.bank_settings.model_copy(update={"retrieve": False}))
    assert not blind.earlier(queries).found.any() and not blind.retrieve(queries).found.any()
    assert f.earlier(queries).found.any()
    inputs = blind.inputs(queries, blind.retrieve(queries))
    assert np.ptp(inputs.summary, axis=0).max() == 0 and not any(
        mask.any() for mask in inputs.retrieved.mask.values()
    )
