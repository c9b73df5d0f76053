"""Clauses 5 and 6: who is in the bank, and what the fit has seen."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from m3tr.config import read_params
from m3tr.features.store import Features
from m3tr.memory.bank import Bank

ROOT = Path(__file__).parents[2]


def ids_of(tiny, split):
    return set(tiny.examples.filter(pl.col("split") == split)["video_id"])


def test_only_training_videos_are_in_the_bank(tiny_forecaster):
    bank = set(tiny_forecaster.forecaster.bank.items["video_id"])
    assert bank == ids_of(tiny_forecaster, "train")
    assert not bank & (ids_of(tiny_forecaster, "validation") | ids_of(tiny_forecaster, "test"))


def test_training_queries_see_training_videos_only(tiny_forecaster, tiny_queries):
    f = tiny_forecaster.forecaster
    found = f.retrieve(tiny_queries["train"])
    shown = set(f.bank.items["video_id"].to_numpy()[found.index[found.found]])
    assert shown and shown <= ids_of(tiny_forecaster, "train")


def test_the_fit_reports_no_breach(tiny_forecaster):
    contract = tiny_forecaster.figures["contract"]
    assert len(contract) == 5 and not any(contract.values())


def test_a_planted_breach_is_reported(tiny_forecaster, tiny_queries):
    f, train = tiny_forecaster.forecaster, tiny_queries["train"]
    whole = f.task.model_copy(update={"group_by": "creator_id"})  # every clause binds at once
    f = replace(f, task=whole)
    free = f.bank.search(f.bank.keys, 3, 0.5)  # no clock, no exclusion
    order = np.argsort(
        [f.bank.items["video_id"].to_list().index(v) for v in train.examples["video_id"]]
    )
    counted = f.breaches(train.select(order), free, ids_of(tiny_forecaster, "train"))
    assert min(counted.values()) > 0


def test_a_held_out_copy_does_not_join_two_training_videos(tiny_forecaster):
    """A is like X and X like B, X asked for beside them: A and B are no near-duplicates."""
    bank = tiny_forecaster.forecaster.bank
    items = bank.items.with_columns(media="media/" + pl.col("video_id"))
    bank = Bank.build(items, bank.keys, bank.values)
    titled = bank.items.with_row_index("at").filter(pl.col("title").is_not_null())
    a, b = titled[0], titled[-1]
    x = a.with_columns(video_id=pl.lit("x"), media=b["media"])
    assert bank.alike(pl.concat([x, a, b]).drop("at"))[0].tolist() == [a["at"][0], b["at"][0]]
    assert [o.tolist() for o in bank.alike(pl.concat([x, a, b]))[1:]] == [
        [a["at"][0]],
        [b["at"][0]],
    ]


def rewritten(world, split):
    """The world with other videos, feedback, features and labels in one split."""
    rng = np.random.default_rng(0)
    ids = world.examples.filter(pl.col("split") == split)["video_id"].to_list()
    mine = pl.col("video_id").is_in(ids)
    videos = world.videos.with_columns(
        title=pl.when(mine).then(pl.lit("other ") + pl.col("video_id")).otherwise("title"),
        category=pl.when(mine).then(pl.lit("unheard of")).otherwise("category"),
        creator_followers=pl.when(mine).then(10**9).otherwise("creator_followers"),
        duration_s=pl.when(mine).then(1e5).otherwise("duration_s"),
    )
    feedback = world.feedback.with_columns(
        count=pl.when(mine).then(1_000).otherwise("count").cast(pl.Int64),
        time=pl.when(mine).then(pl.col("time") + pl.duration(hours=7)).otherwise("time"),
    )
    height = world.examples.height
    noise = pl.Series(rng.normal(20, 5, (height, 2)).tolist())
    examples = world.examples.with_columns(
        increment=pl.when(mine).then(noise).otherwise("increment"),
        total=pl.when(mine).then(noise).otherwise("total"),
    )
    there = np.isin(world.features.ids, ids)[:, None, None]
    tokens = {
        m: np.where(there, rng.normal(9, 9, a.shape), a).astype("f4")
        for m, a in world.features.tokens.items()
    }
    mask = {m: a | there[:, :, 0] for m, a in world.features.mask.items()}
    features = Features(world.features.ids, tokens, mask)
    return world.but(videos=videos, feedback=feedback, examples=examples, features=features)


def same_files(one: Path, two: Path) -> None:
    """Every saved array and text of two forecasters is the same."""
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(two)) for p in two.rglob("*") if p.is_file())
    for name in names:
        a, b = one / name, two / name
        if name.endswith(".safetensors"):
            first, second = load_file(a), load_file(b)
            assert first.keys() == second.keys()
            for key in first:
                assert np.array_equal(first[key], second[key]), f"{name}: {key}"
        elif name.endswith("index.faiss.json"):
            told = [json.loads(p.read_text()) for p in (a, b)]
            assert all(t.pop("build_seconds") for t in told) and told[0] == told[1]
        elif name.endswith(".parquet"):
            assert pl.read_parquet(a).equals(pl.read_parquet(b))
        else:
            assert a.read_bytes() == b.read_bytes(), name


def test_the_test_split_changes_nothing_that_is_fitted(tiny_forecaster, tmp_path):
    """Everything is fitted again, the point process too, on a world with another test split.

    It is also the test that a fit is a function of data and seed.
    """
    other = rewritten(tiny_forecaster.world, "test")
    forecaster, figures = tiny_forecaster.train(other)
    forecaster.save(tmp_path / "model")
    same_files(tiny_forecaster.folder, tmp_path / "model")
    assert json.loads(json.dumps(figures)) == tiny_forecaster.figures


def test_nor_the_index_of_the_bank(tiny_forecaster, tmp_path):
    """Effort is tuned, and recall measured, on validation keys: those of the test split are new."""
    f, world = tiny_forecaster.forecaster, tiny_forecaster.world
    for name, each in (("one", world), ("two", rewritten(world, "test"))):
        bank, _, _ = tiny_forecaster.remember(
            each, f.mhp, trajectory="likelihood", index={"kind": "ivf", "recall": 0.8}
        )
        (segment,) = bank.segments
        assert len(segment.index.queries) == len(ids_of(tiny_forecaster, "validation"))
        bank.save(tmp_path / name)
    assert len(list(tmp_path.glob("*/*/index.faiss"))) == 2
    same_files(tmp_path / "one", tmp_path / "two")


def test_what_is_fitted_here_is_what_the_sample_fits(tiny_forecaster):
    f, sample = tiny_forecaster.forecaster, read_params(ROOT).bank
    for name in ("eta", "weights", "trajectory", "numbers"):
        assert getattr(f.bank_settings, name) == getattr(sample, name)
    # there was enough to learn at some age
    assert any(name.endswith(".key.weight.0") for name in f.key_maker.arrays)
    assert "numbers" in f.bank.manifest.modalities and f.bank.numbers is not None
    assert f.bank.manifest.learned["tried"]


@pytest.fixture(scope="module")
def other_validation(tiny_forecaster):
    """A fit on a world with another validation split, with the same weights of the search."""
    other, f = rewritten(tiny_forecaster.world, "validation"), tiny_forecaster.forecaster
    weights = {"eta": f.bank.manifest.eta, "weights": f.bank.manifest.weights}
    small = {"members": 0, "boosted": False}
    return tiny_forecaster.train(other, f.mhp, bank=weights, **small)[0]


def same_bank(one, two):
    """Keys of all ages and values agree bit by bit."""
    for a, b in (
        (one.values, two.values),
        ({"key": one.segments[0].keys}, {"key": two.segments[0].keys}),
        (one.segments[0].younger, two.segments[0].younger),
    ):
        same_arrays(a, b)
    assert one.items.equals(two.items)
    assert json.dumps(one.manifest.numbers) == json.dumps(two.manifest.numbers)


def same_arrays(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert np.array_equal(one[name], np.asarray(two[name])), name


def test_validation_stops_and_calibrates_and_scales_nothing(tiny_forecaster, other_validation):
    f, other = tiny_forecaster.forecaster, other_validation
    same_arrays(f.tokeniser.arrays, other.tokeniser.arrays)
    same_arrays(f.key_maker.arrays, other.key_maker.arrays)
    same_arrays(f.base.arrays, other.base.arrays)
    same_bank(f.bank, other.bank)
    for target, forest in f.forests.items():
        same_arrays(forest.arrays, other.forests[target].arrays)
    assert len(other.forests) == 2
    assert f.feedback.state() == other.feedback.state()
    assert f.content.numbers == other.content.numbers
    assert f.content.categories == other.content.categories
    mine, its = f.intervals.arrays, other.intervals.arrays
    # how wide is learned on training, how wide exactly on validation
    same_arrays(*({k: v for k, v in a.items() if k != "scores"} for a in (mine, its)))
    assert not np.allclose(mine["scores"], its["scores"])


def test_validation_weighs_the_parts_of_the_score_and_makes_no_key(tiny_forecaster):
    world, mhp = tiny_forecaster.world, tiny_forecaster.forecaster.mhp
    one, maker, _ = tiny_forecaster.remember(world, mhp)
    two, other, _ = tiny_forecaster.remember(rewritten(world, "validation"), mhp)
    same_arrays(maker.arrays, other.arrays)
    same_bank(one, two)
    weights = ("eta", "weights", "learned")
    a, b = ({k: v for k, v in vars(m.manifest).items() if k not in weights} for m in (one, two))
    assert a == b
    assert one.manifest.learned != two.manifest.learned  # they do come from it
