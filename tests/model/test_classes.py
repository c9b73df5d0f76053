"""Covariates of latent classes: their shape, their storage, and what a training row is told."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from m3tr.data.windows import observed
from m3tr.features.store import Features
from m3tr.hawkes.latent import LatentClasses
from m3tr.model import classes
from m3tr.model.classes import IMPOSSIBLE, ClassCovariates
from m3tr.model.queries import Queries
from m3tr.training.classes import whole_histories
from tests.hawkes.trajectories import KINDS, truth, world

VIDEOS, GROUPS = 120, 24
C, H = 3, 2


@pytest.fixture(scope="module")
def tables():
    return world(VIDEOS, seed=5)


@pytest.fixture(scope="module")
def content(tables):
    """Says something of the class, and is otherwise noise."""
    rng = np.random.default_rng(2)
    return np.eye(C)[tables[2]] @ rng.normal(size=(C, 4)) + rng.normal(0, 1, (VIDEOS, 4))


@pytest.fixture(scope="module")
def whole(tables):
    return whole_histories(tables[0], tables[1], KINDS)


GROUP = np.arange(VIDEOS) % GROUPS


@pytest.fixture(scope="module")
def fitted(whole, content):
    """The covariates, and what the training rows are told."""
    covariates = ClassCovariates(truth())
    return covariates, covariates.fit(whole, content, GROUP, seed=0)


def queries_of(feedback: pl.DataFrame, examples: pl.DataFrame) -> Queries:
    ids = examples["video_id"].to_list()
    seen = observed(feedback, examples)
    x_s = np.zeros((len(ids), 0))
    return Queries(examples, examples.select("video_id"), seen, Features.empty(ids), x_s)


@pytest.fixture(scope="module")
def queries(tables):
    return queries_of(*tables[:2])


def test_columns_are_classes_and_what_each_and_all_say(fitted, queries, content):
    found = fitted[0].of(queries, KINDS, content)
    assert found.shape == (VIDEOS, 2 * C + H) and np.isfinite(found).all()
    log_class, last, mean = np.split(found, [C, 2 * C], axis=1)
    assert (log_class <= 0).all() and (log_class >= IMPOSSIBLE).all()
    np.testing.assert_allclose(np.exp(log_class).sum(1), 1, atol=1e-5)
    assert (last >= 0).all() and (np.diff(mean, axis=1) > 0).all()
    np.testing.assert_allclose(mean[:, -1], (np.exp(log_class) * last).sum(1), atol=1e-4)


def test_they_tell_the_class_and_the_increment(fitted, queries, tables, content, whole):
    """Content and a day of feedback say more of both than chance."""
    found = fitted[0].of(queries, KINDS, content)
    assert np.mean(found[:, :C].argmax(1) == tables[2]) > 0.55
    later = (whole.time > 1) & (whole.kind == 0)
    grown = np.log2(1 + np.bincount(whole.video[later], whole.count[later], VIDEOS))
    assert np.corrcoef(found[:, -1], grown)[0, 1] > 0.6
    assert abs((found[:, -1] - grown).mean()) < 0.4


def test_content_moves_them(fitted, queries, content):
    one = fitted[0].of(queries, KINDS, content)
    two = fitted[0].of(queries, KINDS, content[::-1])
    assert (np.abs(one - two).max(1) > 1e-3).all()


def test_they_are_finite_without_events_and_at_age_zero(fitted, tables, content):
    feedback, examples, _ = tables
    silent = fitted[0].of(queries_of(feedback.clear(), examples), KINDS, content)
    assert silent.shape == (VIDEOS, 2 * C + H) and np.isfinite(silent).all()
    born = examples.with_columns(observed_at=pl.col("published_at"), age_days=pl.lit(0.0))
    cold = fitted[0].of(queries_of(feedback, born), KINDS, content)
    assert np.isfinite(cold).all() and np.ptp(cold, axis=0).min() > 0
    # nothing was seen: the classes are as likely as content says
    said = np.maximum(fitted[0].prior.predict(content)[:, 1:], 0.01)
    np.testing.assert_allclose(np.exp(cold[:, :C]), said / said.sum(1, keepdims=True), rtol=1e-9)


def test_a_content_that_shouts_leaves_them_finite(fitted, queries, content):
    found = fitted[0].of(queries, KINDS, content * 1e6)
    assert np.isfinite(found).all()


def test_later_feedback_changes_nothing(fitted, tables, queries, content):
    feedback, examples, _ = tables
    clock = feedback.join(examples.select("video_id", "observed_at"), on="video_id")
    late = pl.col("time") > pl.col("observed_at")
    other = clock.filter(~late | (pl.col("kind") == "like")).with_columns(
        count=pl.when(late).then(pl.col("count") + 40).otherwise("count")
    )
    one = fitted[0].of(queries, KINDS, content)
    assert np.array_equal(fitted[0].of(queries_of(other, examples), KINDS, content), one)
    seen = other.with_columns(time=pl.col("time") - timedelta(hours=12))
    assert not np.array_equal(fitted[0].of(queries_of(seen, examples), KINDS, content), one)


def test_they_do_not_depend_on_how_many_are_computed_at_once(fitted, queries, content, monkeypatch):
    one = fitted[0].of(queries, KINDS, content), fitted[0].of(queries, KINDS, content, fitted[1])
    for chunk in (1, 7, VIDEOS - 1, VIDEOS):
        monkeypatch.setattr(classes, "CHUNK", chunk)
        two = fitted[0].of(queries, KINDS, content)
        np.testing.assert_allclose(two, one[0], rtol=1e-12, atol=1e-12)
        told = fitted[0].of(queries, KINDS, content, fitted[1])
        np.testing.assert_allclose(told, one[1], rtol=1e-12, atol=1e-12)


def test_stored_and_read_again_they_are_the_same_to_the_bit(fitted, queries, content, tmp_path):
    save_file(fitted[0].arrays, tmp_path / "classes.safetensors")
    again = ClassCovariates.from_arrays(load_file(tmp_path / "classes.safetensors"))
    assert again.shape == fitted[0].shape != 1.0
    one, two = (each.of(queries, KINDS, content) for each in (fitted[0], again))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("process", [None, LatentClasses()])
def test_without_a_process_there_are_none(process, queries, content):
    nothing = ClassCovariates(process)
    again = ClassCovariates.from_arrays(nothing.arrays)
    for each in (nothing, again):
        assert each.arrays == {} and len(each.process) == 0
        assert each.of(queries, KINDS, content).shape == (VIDEOS, 0)


def test_a_training_row_is_told_what_others_taught(fitted, content, queries):
    covariates, said = fitted
    inside = covariates.prior.predict(content)
    assert said.shape == inside.shape == (VIDEOS, 1 + C)
    assert (np.abs(said - inside).max(1) > 1e-6).all()
    of = covariates.of(queries, KINDS, content, said)
    assert not np.allclose(of, covariates.of(queries, KINDS, content))


def test_what_a_row_is_told_does_not_depend_on_its_own_outcome(fitted, tables, content):
    """Nor on that of its group: only others are told something else."""
    feedback, examples, _ = tables
    video, group = 17, GROUP[17]
    more = examples[video].select(
        "video_id",
        time=pl.col("published_at") + timedelta(days=3),
        kind=pl.lit("view"),
        count=pl.lit(400, dtype=pl.Int64),
    )
    whole = whole_histories(pl.concat([feedback, more]), examples, KINDS)
    told = ClassCovariates(truth()).fit(whole, content, GROUP, seed=0)
    assert np.array_equal(told[group == GROUP], fitted[1][group == GROUP])
    assert (np.abs(told - fitted[1]).max(1) > 0).mean() > 0.5


def test_the_volume_is_trusted_as_far_as_content_tells_it(whole, content):
    """Content that knows the volume leaves less doubt around what it says."""
    blind, knowing = ClassCovariates(truth()), ClassCovariates(truth())
    blind.fit(whole, content, GROUP, seed=0)
    total = np.log(1 + np.bincount(whole.video, whole.count, VIDEOS))
    knowing.fit(whole, np.column_stack([content, total]), GROUP, seed=0)
    assert knowing.shape > 1.5 * blind.shape > 0
