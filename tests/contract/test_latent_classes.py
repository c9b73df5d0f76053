"""Clauses 1 and 6 for the latent classes: read up to the clock, fitted on training videos."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.data.ridge import BaseForecast, fold_groups
from m3tr.features.settings import FeatureSettings
from m3tr.model.classes import ClassCovariates
from m3tr.model.forecaster import Forecaster
from m3tr.training.classes import fit_classes, whole_histories
from m3tr.training.fit import fit, labels
from m3tr.training.settings import TrainSettings
from tests.conftest import SEED


def classes_of(tiny, feedback):
    """The process of the training videos and their histories, as the stages make them."""
    mhp = tiny.forecaster.mhp
    training = tiny.examples.filter(pl.col("split") == "train")
    whole = whole_histories(feedback, training, list(mhp.kinds))
    return fit_classes(whole, training["age_days"].to_numpy(), mhp), whole


def trained(tiny, queries, sure, told=True):
    """A base forecast and a small forest; classes have to be worth so many standard errors."""
    f = tiny.forecaster
    classes, whole = classes_of(tiny, tiny.feedback) if told else (None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m3tr.training.classes.SURE", sure)
        made, figures = fit(
            queries["train"], queries["validation"], f.bank, f.key_maker, f.mhp, list(f.mhp.kinds),
            f.task, f.bank_settings, FeatureSettings(),
            TrainSettings(members=0, boosted=False, trees=10), SEED,
            queries["test"].examples["video_id"], classes=classes, whole=whole,
        )  # fmt: skip
    assert not any(figures["contract"].values())
    assert figures["classes"] == len(made.classes.process)
    return made


@pytest.fixture(scope="module")
def with_classes(tiny_forecaster, tiny_queries, tmp_path_factory):
    """The forecaster saved and loaded; in so small a world the classes stay in any case."""
    made = trained(tiny_forecaster, tiny_queries, -np.inf)
    folder = tmp_path_factory.mktemp("classes") / "model"
    made.save(folder)
    assert len(made.classes.process) >= 2
    one, two = (replace(tiny_forecaster, forecaster=x) for x in (made, Forecaster.load(folder)))
    assert one.predict().equals(two.predict())
    return two


def own_columns(forecaster, queries):
    """The covariates of the classes, which are the last ones."""
    found = forecaster.covariates(queries)
    width = 2 * len(forecaster.classes.process) + len(forecaster.task.horizons)
    without = replace(forecaster, classes=type(forecaster.classes)()).covariates(queries)
    assert np.array_equal(found[:, :-width], without)
    return found[:, -width:]


def clocks_of(tiny):
    return (None, tiny.part("test")["published_at"].max() + timedelta(hours=3))


def test_nothing_after_the_clock_changes_what_is_said_of_classes(with_classes, after_clocks):
    f, videos = with_classes.forecaster, with_classes.part("test")
    for clock in clocks_of(with_classes):
        one = f.queries(videos, with_classes.feedback, clock, with_classes.features)
        two = f.queries(videos, after_clocks(clock, seed=4), clock, with_classes.features)
        own = own_columns(f, one)
        assert np.array_equal(own_columns(f, two), own) and np.isfinite(own).all()
        assert np.ptp(own, axis=0).min() > 0


def test_nor_a_forecast_made_with_them(with_classes, after_clocks):
    for clock in clocks_of(with_classes):
        before = with_classes.predict(observed_at=clock)
        after = with_classes.predict(observed_at=clock, feedback=after_clocks(clock, seed=5))
        assert after.equals(before)


def test_the_forecast_does_depend_on_them(with_classes, tiny_queries):
    """Else the tests above would hold whatever the classes saw."""
    f, queries = with_classes.forecaster, tiny_queries["test"]
    x = f.covariates(queries)
    for column in range(-len(own_columns(f, queries)[0]), 0):
        x[:, column] = x[::-1, column]
    assert np.abs(f.base.predict(x) - f.base.predict(f.covariates(queries))).max() > 0.01


def test_a_row_at_the_clock_does_change_them(with_classes):
    f, videos = with_classes.forecaster, with_classes.part("test")
    examples = with_classes.examples.filter(pl.col("split") == "test")
    before = own_columns(f, f.queries(videos, with_classes.feedback, None, with_classes.features))
    for shift, same in ((timedelta(microseconds=1), True), (timedelta(0), False)):
        rows = examples.select(
            "video_id",
            time=pl.col("observed_at") + shift,
            kind=pl.lit("view"),
            count=pl.lit(50, dtype=pl.Int64),
        )
        more = pl.concat([with_classes.feedback, rows])
        after = own_columns(f, f.queries(videos, more, None, with_classes.features))
        assert np.array_equal(after, before) == same


def test_classes_are_fitted_on_training_videos_up_to_their_horizons(tiny_forecaster):
    """Other splits' feedback, and what came after the last horizon, is rewritten."""
    examples = tiny_forecaster.examples.select("video_id", "split", "known_at")
    rows = tiny_forecaster.feedback.join(examples, on="video_id", how="left")
    known = (pl.col("split") == "train") & (pl.col("time") <= pl.col("known_at"))
    other = rows.with_columns(
        count=pl.when(known.fill_null(False)).then(pl.col("count")).otherwise(pl.col("count") + 9)
    ).select(tiny_forecaster.feedback.columns)
    assert not other.equals(tiny_forecaster.feedback)
    one, _ = classes_of(tiny_forecaster, tiny_forecaster.feedback)
    two, _ = classes_of(tiny_forecaster, other)
    assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)


def test_the_base_forecast_learns_from_what_is_told_out_of_fold(with_classes, tiny_queries):
    """Fitted once more by hand, it is the one of the fit; with the final prior it is another."""
    f, train = with_classes.forecaster, tiny_queries["train"]
    process, whole = classes_of(with_classes, with_classes.feedback)
    content = f.content.transform(train.videos, train.features)
    own = ClassCovariates(process)
    said = own.fit(whole, content, fold_groups(train.videos), SEED)
    assert own.shape == f.classes.shape != 1.0
    told, inside = (
        BaseForecast().fit(f.covariates(train, each), labels(train)).arrays for each in (said, None)
    )
    assert all(np.allclose(f.base.arrays[name], told[name], atol=1e-9) for name in told)
    assert not np.allclose(f.base.arrays["mean"], inside["mean"], atol=1e-6)


def test_classes_that_are_worth_nothing_leave_no_trace(tiny_forecaster, tiny_queries):
    dropped = trained(tiny_forecaster, tiny_queries, np.inf)
    never = trained(tiny_forecaster, tiny_queries, np.inf, told=False)
    assert dropped.classes.arrays == never.classes.arrays == {}
    one, two = (replace(tiny_forecaster, forecaster=f).predict() for f in (dropped, never))
    assert one.equals(two)
