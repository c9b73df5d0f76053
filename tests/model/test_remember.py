"""Matured videos become items that are as good as those of the training, and only when they may."""

import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.memory.bank import Bank
from m3tr.model.forecaster import Forecaster
from m3tr.model.remember import (
    content_of,
    content_of_keys,
    items_of,
    matured,
    outcomes,
    younger_representations,
)


@pytest.fixture(scope="module")
def later(tiny_forecaster):
    """The videos of the validation split, as new items."""
    t = tiny_forecaster
    return matured(t.forecaster, t.part("validation"), t.feedback, t.features, held_out=True)


@pytest.fixture(scope="module")
def larger(tiny_forecaster, later):
    """The forecaster whose bank has them."""
    f = tiny_forecaster.forecaster
    return replace(f, bank=replace(f.bank, folder=None).append(*later))


def by_id(bank, name):
    return dict(zip(bank.items["video_id"], bank.value(name), strict=True))


def test_an_append_gives_the_bank_that_would_have_been_built(tiny_forecaster, tiny_queries, larger):
    t, f = tiny_forecaster, tiny_forecaster.forecaster
    both = [tiny_queries[s] for s in ("train", "validation")]
    examples = pl.concat([q.examples for q in both])
    videos = pl.concat([q.videos for q in both])
    x_s = np.concatenate([q.x_s for q in both])
    features = t.features.select(examples["video_id"].to_list())
    content = content_of_keys(videos, features, f.bank.numbers)
    younger = younger_representations(f.mhp, t.feedback, examples, f.bank.manifest.younger)
    whole = Bank.build(
        items_of(examples, videos),
        f.key_maker.keys(x_s, content, younger),
        {"x_s": x_s} | outcomes(examples, t.feedback, f.task.target),
        eta=f.bank.manifest.eta,
        weights=f.bank.manifest.weights,
        numbers=f.bank.numbers,
    )
    assert len(larger.bank) == len(whole) == len(f.bank) + both[1].examples.height
    for name in ("increment", "curve"):
        here, there = by_id(larger.bank, name), by_id(whole, name)
        assert all(np.array_equal(here[video], there[video]) for video in there)
    order = [whole.items["video_id"].to_list().index(v) for v in larger.bank.items["video_id"]]
    assert larger.bank.items.equals(whole.items[order])
    assert np.allclose(larger.bank.keys.trajectory, whole.keys.trajectory[order], atol=1e-5)
    for m, key in whole.keys.content.items():
        assert np.allclose(larger.bank.keys.content[m], key[order], atol=1e-5)
    for age, key in whole.keys.younger.items():
        assert np.allclose(larger.bank.keys.younger[age], key[order], atol=1e-5)
    found = larger.retrieve(tiny_queries["test"])
    again = replace(f, bank=whole).retrieve(tiny_queries["test"])
    assert np.array_equal(found.index >= 0, again.index >= 0)
    assert np.allclose(found.score, again.score, atol=1e-5)


def test_residuals_and_tokens_are_those_of_a_query(tiny_forecaster, tiny_queries, larger):
    f, queries = tiny_forecaster.forecaster, tiny_queries["validation"]
    tokens = f.inputs(queries, f.retrieve(queries)).video
    base = f.base.predict(f.covariates(queries))
    residual, increment = by_id(larger.bank, "residual"), by_id(larger.bank, "increment")
    for i, video in enumerate(queries.examples["video_id"]):
        assert np.allclose(residual[video], increment[video] - base[i], atol=1e-5)
    for m, x in tokens.x.items():
        kept, mask = by_id(larger.bank, f"token.{m}"), by_id(larger.bank, f"mask.{m}")
        for i, video in enumerate(queries.examples["video_id"]):
            assert np.allclose(kept[video], x[i], atol=1e-4)
            assert np.array_equal(mask[video], tokens.mask[m][i])


def test_later_queries_meet_them_and_earlier_ones_never(tiny_forecaster, tiny_queries, larger):
    """The new items serve from the moment at which their outcome became known."""
    f = tiny_forecaster.forecaster
    new = set(tiny_queries["validation"].examples["video_id"])
    ids = larger.bank.items["video_id"].to_numpy()
    met = 0
    for split in ("train", "validation", "test"):
        queries = tiny_queries[split]
        found = larger.retrieve(queries)
        clocks = queries.examples["observed_at"].to_numpy()
        for i in range(len(clocks)):
            at = found.index[i][found.found[i]]
            assert (larger.bank.known_at(at) <= clocks[i]).all()
            assert queries.examples["video_id"][i] not in set(ids[at])
            met += len(new.intersection(ids[at]))
        if split == "train":
            assert met == 0
            assert np.array_equal(found.score, f.retrieve(queries).score)
    assert met > 0
    everything = larger.forecast(tiny_queries["test"], found)
    assert np.isfinite(everything).all()


def test_only_what_is_known_and_new_becomes_an_item(tiny_forecaster):
    t = tiny_forecaster
    f, arguments = t.forecaster, (t.videos, t.feedback, t.features)
    first, last = t.examples["known_at"].min(), t.feedback["time"].max()
    whole = matured(f, *arguments, held_out=True)
    early = matured(f, *arguments, until=first, held_out=True)
    assert early.items.is_empty()  # the one that is known by then is in the bank
    middle = t.part("test")["published_at"].max() + timedelta(days=2)
    some = matured(f, *arguments, until=middle, held_out=True)
    assert 0 < some.items.height < whole.items.height
    assert some.items["known_at"].max() <= middle < last
    assert not set(some.items["video_id"]).intersection(f.bank.items["video_id"])


def test_nothing_new_changes_nothing(tiny_forecaster, larger, later):
    assert larger.bank.append(*later) is larger.bank
    t = tiny_forecaster
    again = matured(larger, t.part("validation"), t.feedback, t.features)
    assert again.items.is_empty()
    assert larger.bank.append(*again) is larger.bank


def test_feedback_without_the_target_is_no_outcome(tiny_forecaster):
    t = tiny_forecaster
    other = t.feedback.filter(pl.col("kind") != "view")
    with pytest.raises(InputError, match="no feedback has the target kind 'view'"):
        matured(t.forecaster, t.part("test"), other, t.features)


def test_features_come_from_the_encoder_of_the_bank(tiny_forecaster):
    t, f = tiny_forecaster, tiny_forecaster.forecaster
    told = replace(f.bank.manifest, fingerprints={"text": "0123456789abcdef"})
    other = replace(f, bank=replace(f.bank, manifest=told))
    videos = t.part("test")[:4]
    with pytest.raises(InputError, match="text features would come from another encoder"):
        matured(other, videos, t.feedback, held_out=True)
    features, broken = content_of(f, videos, t.folder)
    assert features.ids == videos["video_id"].to_list() and broken.is_empty()
    given = videos.with_columns(emb_text=pl.Series([[0.5, 0.5]] * 4))
    with pytest.raises(InputError, match="another encoder \\(precomputed\\)"):
        matured(other, given, t.feedback, held_out=True)


def test_held_out_videos_are_refused_wherever_the_model_is(tiny_forecaster, tmp_path):
    t = tiny_forecaster
    shipped = Forecaster.load(shutil.copytree(t.folder, tmp_path / "model"))
    test, training = t.part("test"), t.part("train")
    for split in ("validation", "test"):
        part = t.part(split)
        assert shipped.holds_out(part).all() and not shipped.took_part(part).any()
        with pytest.raises(InputError, match=rf"{part['video_id'][0]}, are in the validation or"):
            matured(shipped, part, t.feedback, t.features)
    assert shipped.took_part(training).all() and not shipped.holds_out(training).any()
    as_others = pl.concat_str(pl.lit("new-"), "video_id").alias("video_id")
    assert not shipped.holds_out(test.with_columns(as_others)).any()
    # those that have not matured are left out, as they always are
    first = t.examples["known_at"].min()
    assert matured(shipped, test, t.feedback, t.features, until=first).items.is_empty()
    # and nobody is named
    names = (t.folder / "arrays.safetensors").read_bytes()
    assert not any(video.encode() in names for video in test["video_id"])


def test_feedback_ends_with_its_last_row_whatever_the_training_data_did(tiny_forecaster):
    """A later `task.observed_until` would make cut-off increments known."""
    t = tiny_forecaster
    test = t.part("test")
    cut = t.feedback.filter(pl.col("time") <= test["published_at"].max() + timedelta(days=2))
    last = cut["time"].max()
    task = t.task.model_copy(update={"observed_until": last + timedelta(days=30)})
    items = matured(replace(t.forecaster, task=task), test, cut, t.features, held_out=True).items
    assert 0 < items.height < test.height and items["known_at"].max() <= last
    later = last + timedelta(days=1)
    more = matured(t.forecaster, test, cut, t.features, until=later, held_out=True).items
    assert items.height < more.height
