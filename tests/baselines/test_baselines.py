"""Baselines on data with known answers, and on what they may not look at."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m3tr.baselines.base import LABELS, Baseline, Line
from m3tr.baselines.last_count import LastCount
from m3tr.baselines.mean import Mean
from m3tr.baselines.ridge import Ridge
from m3tr.baselines.rows import SCHEMA, baselines, predictions
from m3tr.baselines.szabo_huberman import SzaboHuberman
from m3tr.errors import InputError
from m3tr.evaluation.table import ORDER


def test_line_is_the_least_squares_line():
    rng = np.random.default_rng(0)
    x, Y = rng.normal(size=50), rng.normal(size=(50, 3))
    line = Line().fit(x, Y)
    for h in range(3):
        slope, constant = np.polyfit(x, Y[:, h], 1)
        assert line.slope[h] == pytest.approx(slope)
        assert line.constant[h] == pytest.approx(constant)


def test_line_from_a_constant_is_the_mean():
    Y = np.arange(6.0).reshape(3, 2)
    assert Line().fit(np.ones(3), Y)(np.array([5.0])) == pytest.approx(Y.mean(0)[None])


def test_mean_is_the_training_mean(linear):
    train, test = linear(40, 0), linear(10, 1)
    for label in LABELS:
        y_hat = Mean().fit(train, train, label).predict(test)
        assert y_hat == pytest.approx(np.tile(train.y(label).mean(0), (10, 1)))


def test_last_count_recovers_a_power_law(make):
    rng = np.random.default_rng(0)
    observed = rng.integers(0, 5000, 80)
    y = 1.0 + 0.8 * np.log2(1 + observed)
    nothing = np.zeros((80, 1))
    data = make(y[:, None], nothing, nothing, observed)
    row = LastCount().fit(data, data, "increment")
    assert row.line.slope == pytest.approx([0.8])
    assert row.predict(data)[:, 0] == pytest.approx(y)


def test_szabo_huberman_has_unit_slope_and_the_mean_growth(make):
    rng = np.random.default_rng(0)
    observed = rng.integers(1, 5000, 80)
    growth = rng.normal(1.5, 0.1, (80, 2))
    nothing = np.zeros((80, 1))
    data = make(np.log2(1 + observed)[:, None] + growth, nothing, nothing, observed)
    row = SzaboHuberman().fit(data, data, "increment")
    assert row.growth == pytest.approx(growth.mean(0))
    gap = row.predict(data) - np.log2(1 + observed)[:, None]
    assert gap == pytest.approx(np.tile(growth.mean(0), (80, 1)))


def test_a_row_must_fit_and_predict():
    with pytest.raises(TypeError, match="abstract"):
        Baseline()


def test_a_total_from_the_increment_keeps_what_was_observed(linear):
    train, test = linear(100, 0), linear(30, 1)
    row = Ridge("F").fit(train, train, "increment")
    increment, model = row.predict(test), row.model
    total = row.fit(train, train, "total").predict(test)
    assert row.model is model  # not fitted again
    observed = test.examples["observed"].to_numpy()[:, None]
    assert np.exp2(total) == pytest.approx(observed + np.exp2(increment))
    assert row.fit(test, train, "total").model is not model


def test_ridge_reads_content_only_where_it_may(make):
    rng = np.random.default_rng(0)
    F, C = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    data = make(8 + F[:, :1] + C[:, :1], F, C)

    def error(row):
        return np.abs(row.fit(data, data, "increment").predict(data) - data.y("increment")).max()

    assert error(Ridge("CF")) < 0.05
    assert error(Ridge("F")) > 1


def test_ridge_recovers_linear_truth(linear):
    train, test = linear(300, 0), linear(100, 1)
    y_hat = Ridge().fit(train, train, "increment").predict(test)
    assert np.abs(y_hat - test.y("increment")).max() < 0.01


def test_ridge_ignores_constant_columns(linear):
    train, test = linear(100, 0), linear(20, 1)
    wide = [
        replace(d, X_feedback=np.column_stack([d.X_feedback, np.full(len(d), c)]))
        for d, c in ((train, 3.0), (test, 1e9))
    ]
    plain = Ridge().fit(train, train, "increment").predict(test)
    assert Ridge().fit(wide[0], wide[0], "increment").predict(wide[1]) == pytest.approx(plain)


def test_no_forecast_is_negative(make):
    X = np.linspace(0, 1, 30)[:, None]
    train = make(np.maximum(5 * X - 1, 0), X, X)
    far = replace(train, X_feedback=X - 5)
    assert Ridge().fit(train, train, "increment").predict(far).min() == 0.0


def test_predictions_have_the_schema_and_no_baseline_reads_test_labels(linear):
    train, validation, test = linear(80, 0), linear(30, 1), linear(20, 2)
    frame = predictions(baselines(tuning=1, seeds=1), train, validation, test)
    assert dict(frame.schema) == SCHEMA
    names = frame["row"].unique(maintain_order=True).to_list()
    assert names == [name for name in ORDER if name in names] and len(names) == 14
    assert frame.height == 14 * 2 * 20 * 2
    zeros = [[0.0, 0.0]] * 20
    blind = replace(
        test,
        examples=test.examples.with_columns(
            increment=pl.Series(zeros, dtype=pl.List(pl.Float64)),
            total=pl.Series(zeros, dtype=pl.List(pl.Float64)),
        ),
    )
    again = predictions(baselines(tuning=1, seeds=1), train, validation, blind)
    assert again["y_hat"].equals(frame["y_hat"])
    y = frame.filter(row="mean", label="increment", horizon=1).sort("video_id")["y"]
    assert y.to_numpy() == pytest.approx(test.y("increment")[:, 1])


def test_intervals_of_a_baseline_are_of_its_own_validation_errors(linear):
    train, validation, test = linear(80, 0), linear(49, 1), linear(400, 2)
    frame = predictions([Ridge()], train, validation, test, 0.8).filter(label="increment")
    row = Ridge().fit(train, validation, "increment")
    errors = np.sort(validation.y("increment") - row.predict(validation), 0)
    y_hat = row.predict(test)
    lo, hi, crps = (frame[c].to_numpy().reshape(y_hat.shape) for c in ("lo", "hi", "crps"))
    assert np.allclose(lo, np.maximum(np.minimum(y_hat + errors[4], y_hat), 0))
    assert np.allclose(hi, np.maximum(y_hat + errors[44], y_hat))
    assert (crps > 0).all() and crps.mean() < np.abs(y_hat - test.y("increment")).mean()
    inside = (lo <= test.y("increment")) & (test.y("increment") <= hi)
    assert 0.65 < inside.mean() < 0.95


def test_without_validation_there_is_no_interval(linear):
    frame = predictions([Mean()], linear(60, 0), linear(0, 1), linear(20, 2))
    assert frame.select("lo", "hi", "crps").null_count().row(0) == (80, 80, 80)


def test_an_empty_training_split_is_told_to_the_user(linear):
    with pytest.raises(InputError, match="no training example"):
        Mean().fit(linear(0, 0), linear(3, 1), "total")
