"""Clauses 1 and 6 for the latent classes: read up to the clock, fitted on training videos."""

import os
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import yaml

from m3tr import stages
from m3tr.data.ridge import BaseForecast, fold_groups
from m3tr.features.settings import FeatureSettings
from m3tr.model.classes import ClassCovariates
from m3tr.model.forecaster import Forecaster
from m3tr.model.remember import matured
from m3tr.training.ages import at_other_ages
from m3tr.training.classes import fit_classes, whole_histories
from m3tr.training.fit import fit, labels
from m3tr.training.heads import age_weights
from m3tr.training.settings import TrainSettings
from m3tr.workspace import CLASSES
from tests.conftest import AGES, HAWKES, SEED


def classes_of(tiny, feedback):
    """The process of the training videos and their histories, as the stages make them."""
    mhp = tiny.forecaster.mhp
    training = tiny.examples.filter(pl.col("split") == "train")
    whole = whole_histories(feedback, training, list(mhp.kinds))
    return fit_classes(whole, training["age_days"].to_numpy(), mhp), whole


def also_of(tiny):
    """The training videos at other ages, as the stage `train` takes them."""
    features = tiny.features.select(tiny.examples["video_id"].to_list())
    mhp, task = tiny.forecaster.mhp, tiny.task
    return at_other_ages(tiny.videos, tiny.feedback, tiny.examples, features, mhp, task, AGES)


def trained(tiny, queries, sure, told=True):
    """A base forecast and a small forest; classes have to be worth so many standard errors."""
    f = tiny.forecaster
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m3tr.training.classes.SURE", sure)
        made, figures = fit(
            queries["train"], queries["validation"], f.bank, f.key_maker, f.mhp, list(f.mhp.kinds),
            f.task, f.bank_settings, FeatureSettings(),
            TrainSettings(members=0, boosted=False, trees=10), SEED,
            queries["test"].examples["video_id"], also_of(tiny),
            classes_of(tiny, tiny.feedback) if told else None,
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


def test_a_row_at_the_clock_does_change_them(with_classes, with_rows):
    f, videos = with_classes.forecaster, with_classes.part("test")
    before = own_columns(f, f.queries(videos, with_classes.feedback, None, with_classes.features))
    for shift, same in ((timedelta(microseconds=1), True), (timedelta(0), False)):
        more = with_rows(shift, 50)
        after = own_columns(f, f.queries(videos, more, None, with_classes.features))
        assert np.array_equal(after, before) == same


def rewritten(tiny):
    """Feedback with other counts in other splits, and with more in training after the horizons."""
    examples = tiny.examples.select("video_id", "split", "known_at")
    rows = tiny.feedback.join(examples, on="video_id", how="left", maintain_order="left")
    training = (pl.col("split") == "train").fill_null(False)
    other = pl.when(training).then(pl.col("count")).otherwise(pl.col("count") + 9)
    late = examples.filter(training).select(
        "video_id",
        time=pl.col("known_at") + timedelta(microseconds=1),
        kind=pl.lit("view"),
        count=pl.lit(1, dtype=pl.Int64),
    )
    found = pl.concat([rows.with_columns(count=other).select(late.columns), late])
    assert late.height and rows.filter(~training)["split"].n_unique() >= 2
    return found.select(tiny.feedback.columns)


def test_classes_are_fitted_on_training_videos_up_to_their_horizons(tiny_forecaster):
    one, two = (
        classes_of(tiny_forecaster, feedback)[0].arrays
        for feedback in (tiny_forecaster.feedback, rewritten(tiny_forecaster))
    )
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_so_are_those_that_the_stage_writes(tiny_forecaster, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = {
        "name": "tiny",
        "seed": SEED,
        "task": tiny_forecaster.task.model_dump(mode="json"),
        "hawkes": HAWKES | {"epochs": 1},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    tables = tmp_path / "artifacts/tables"
    tables.mkdir(parents=True)
    tiny_forecaster.videos.write_parquet(tables / "videos.parquet")
    tiny_forecaster.examples.write_parquet(tables / "examples.parquet")
    written = []
    for feedback in (tiny_forecaster.feedback, rewritten(tiny_forecaster)):
        feedback.write_parquet(tables / "feedback.parquet")
        report = stages.trajectories(tmp_path)
        written.append((tmp_path / CLASSES).read_bytes())
        assert report.figures["classes"] >= 2
    assert written[0] == written[1]
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it outside of monkeypatch's sight


def test_the_base_forecast_learns_from_what_is_told_out_of_fold(with_classes, tiny_queries):
    """Fitted once more by hand, it is the one of the fit; with the final prior it is another."""
    f, train = with_classes.forecaster, tiny_queries["train"]
    process, whole = classes_of(with_classes, with_classes.feedback)
    content = f.content.transform(train.videos, train.features)
    own = ClassCovariates(process)
    said = own.fit(whole, content, fold_groups(train.videos), SEED)
    assert own.shape == f.classes.shape != 1.0
    rows, place = [train, *also_of(with_classes)], train.examples["video_id"].to_list()
    assert len(rows) == 3
    y = [labels(part) for part in rows]

    def base(by_video):
        x = [f.covariates(part, by_video and by_video(part)) for part in rows]
        return BaseForecast().fit(np.vstack(x), np.vstack(y), age_weights(y)).arrays

    told = base(lambda part: said[[place.index(v) for v in part.examples["video_id"]]])
    inside = base(None)
    assert all(np.allclose(f.base.arrays[name], told[name], atol=1e-9) for name in told)
    assert not np.allclose(f.base.arrays["mean"], inside["mean"], atol=1e-6)


def test_a_bank_remembers_new_videos_as_their_covariates_tell(with_classes):
    """Token and residual written out; the classes are a part of both."""
    t, f = with_classes, with_classes.forecaster
    new = matured(f, t.part("validation"), t.feedback, t.features, held_out=True)
    bank = replace(f.bank, folder=None).append(*new)
    known = t.examples.filter(pl.col("video_id").is_in(new.items["video_id"].to_list()))
    assert known.height == new.items.height > 5
    queries = f.queries(
        known.select("video_id").join(t.videos, on="video_id", maintain_order="left"),
        t.feedback, features=t.features.select(known["video_id"].to_list()),
    )  # fmt: skip
    content = f.content.transform(queries.videos, queries.features)
    feedback = f.feedback.transform(queries.observed, queries.examples)
    temporal = [
        f.key_maker.standardise(queries.x_s), f.classes.of(queries, f.mhp.kinds, content),
    ]  # fmt: skip
    base = f.base.predict(np.hstack([feedback, content, *temporal]))
    token = np.hstack([feedback, *temporal, base])
    a = f.tokeniser.arrays
    token = np.clip((token - a["temporal.mean"]) / a["temporal.scale"], -5, 5)
    residual = np.array(known["increment"].to_list()) - base
    place = bank.items["video_id"].to_list()
    at = np.array([place.index(video) for video in known["video_id"]])
    np.testing.assert_allclose(bank.take("token.temporal", at)[:, 0], token, atol=1e-5)
    np.testing.assert_allclose(bank.take("residual", at), residual, atol=1e-5)
    assert token.shape[1] - base.shape[1] == len(f.base.arrays["mean"]) - content.shape[1]


def test_classes_that_are_worth_nothing_leave_no_trace(tiny_forecaster, tiny_queries):
    dropped = trained(tiny_forecaster, tiny_queries, np.inf)
    never = trained(tiny_forecaster, tiny_queries, np.inf, told=False)
    assert dropped.classes.arrays == never.classes.arrays == {}
    one, two = (replace(tiny_forecaster, forecaster=f).predict() for f in (dropped, never))
    assert one.equals(two)
