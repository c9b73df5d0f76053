"""What the fit hands over: heads, bank values, figures."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m3tr.data.ridge import BaseForecast, fold_groups, out_of_fold
from m3tr.data.splits import groups_of
from m3tr.errors import InputError
from m3tr.model.intervals import PRIOR
from m3tr.model.remember import as_digests
from m3tr.training.ages import at_other_ages
from m3tr.training.fit import fit, fit_base, labels
from m3tr.training.heads import OTHER_AGE
from m3tr.training.settings import TrainSettings
from tests.conftest import AGES, TRAIN

HEADS = ["network", "boosted residual", "boosted label", "forest residual", "forest label"]


def test_figures(tiny_forecaster):
    figures, f = tiny_forecaster.figures, tiny_forecaster.forecaster
    assert f.network is not None and 0 <= figures["best_epoch"] <= TRAIN["epochs"]
    assert [*figures["blend"]] == HEADS and min(figures["blend"].values()) >= 0
    assert np.isfinite([figures["validation_mse"], figures["validation_mse_base"]]).all()
    assert len(figures["interval_width"]) == 2 and min(figures["interval_width"]) > 0
    assert f.intervals.coverage == 0.8
    assert 0 < figures["retrieved"] <= f.bank_settings.k


def test_the_splits_are_known_by_digests(tiny_forecaster):
    t, f = tiny_forecaster, tiny_forecaster.forecaster
    for name, digests in (("train", f.fitted), ("validation", f.held_out), ("test", f.held_out)):
        assert np.isin(as_digests(t.part(name)["video_id"]), digests).all()
    assert len(f.fitted) + len(f.held_out) == t.examples.height
    assert (np.diff(f.fitted) > 0).all() and (np.diff(f.held_out) > 0).all()


def test_intervals_come_from_the_errors_on_validation(tiny_forecaster, tiny_queries):
    f, queries = tiny_forecaster.forecaster, tiny_queries["validation"]
    inputs = f.inputs(queries, f.retrieve(queries))
    forecast = f.forecast_inputs(inputs)
    scores = (labels(queries) - forecast) / f.intervals.scale(inputs.everything, forecast)
    kept = f.intervals.arrays["scores"]
    assert len(kept) == len(scores) + PRIOR
    for h in range(2):
        assert np.abs(kept[:, h] - scores[:, [h]]).min(1).max() < 1e-5


def test_the_bank_remembers_out_of_fold_residuals(tiny_forecaster, tiny_queries):
    """Of fits on the training videos at all ages, whose folds keep creators whole."""
    t, f, train = tiny_forecaster, tiny_forecaster.forecaster, tiny_queries["train"]
    features = t.features.select(t.examples["video_id"].to_list())
    also = at_other_ages(t.videos, t.feedback, t.examples, features, f.mhp, t.task, AGES)
    rows, y = [train, *also], labels(train)
    X, every = (np.vstack([of(q) for q in rows]) for of in (f.covariates, labels))
    groups = groups_of(pl.concat([q.videos for q in rows]))
    weight = np.where(np.arange(len(X)) < len(y), 1.0, OTHER_AGE)
    held_out = out_of_fold(X, every, groups, 7, weight)[: len(y)]
    place = {video: i for i, video in enumerate(train.examples["video_id"])}
    order = [place[video] for video in f.bank.items["video_id"]]
    assert np.allclose(f.bank.values["residual"], (y - held_out)[order], atol=1e-6)
    assert np.array_equal(f.bank.values["increment"], y[order])
    inside = y - f.base.predict(f.covariates(train))
    assert np.mean(f.bank.values["residual"] ** 2) > np.mean(inside**2)


def test_groups_of_another_column_share_a_fold(tiny_forecaster, tiny_queries):
    train, f = tiny_queries["train"], tiny_forecaster.forecaster
    series = np.arange(len(train.x_s)) % 7
    train = replace(train, videos=train.videos.with_columns(series=pl.Series(series)))
    task = f.task.model_copy(update={"split": "random", "group_by": "series"})
    other = replace(f, task=task, base=BaseForecast())
    ((X, y, base),) = fit_base(other, [train], None, 7)
    assert np.array_equal(base, out_of_fold(X, y, groups_of(train.videos, "series"), 7))
    assert not np.allclose(base, out_of_fold(X, y, groups_of(train.videos), 7))


def test_videos_of_one_group_fall_back_on_creators():
    videos = pl.DataFrame(
        {"video_id": ["a", "b", "c"], "creator_id": ["x", "y", "x"], "series": ["s"] * 3}
    )
    assert fold_groups(videos, "series").tolist() == [0, 1, 0]
    assert fold_groups(videos.with_columns(creator_id=pl.lit("x")), "series").tolist() == [0, 1, 2]


def test_a_bank_that_does_not_know_the_groups_is_refused(tiny_forecaster, tiny_queries):
    f = tiny_forecaster.forecaster
    task = f.task.model_copy(update={"split": "random", "group_by": "series"})
    with pytest.raises(InputError, match="does not know 'series'.*run the stage `bank`"):
        fit(
            tiny_queries["train"], tiny_queries["validation"], f.bank, f.key_maker, f.mhp,
            list(f.mhp.kinds), task, f.bank_settings, f.feature_settings, TrainSettings(), 7,
        )  # fmt: skip


def test_videos_of_one_creator_share_a_fold(tiny_queries):
    train = tiny_queries["train"]
    number = groups_of(train.videos)
    by_creator = pl.DataFrame({"creator": train.videos["creator_id"], "group": number})
    assert by_creator.group_by("creator").agg(pl.col("group").n_unique())["group"].max() == 1
    assert len(set(number)) == train.videos["creator_id"].n_unique()
