"""Every row on splits with next to nothing in them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m3tr.baselines.base import LABELS
from m3tr.baselines.rows import baselines

ROWS = [row.name for row in baselines()]


def forecasts(name, train, validation, test):
    """Forecasts of both labels by one row."""
    row = next(r for r in baselines(tuning=2, seeds=2) if r.name == name)
    return {label: row.fit(train, validation, label).predict(test) for label in LABELS}


@pytest.mark.parametrize("name", ROWS)
def test_one_training_video(name, linear):
    train, validation, test = linear(1, 0), linear(0, 1), linear(4, 2)
    for y_hat in forecasts(name, train, validation, test).values():
        assert y_hat.shape == (4, 2) and np.isfinite(y_hat).all()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("age", [0.0, 3.0])
def test_no_feedback_at_all_leaves_the_mean_of_the_rows_that_read_it(name, age, make):
    """A data set of content alone: constant feedback covariates, no observed row."""
    rng = np.random.default_rng(0)

    def data(n):
        C = rng.normal(size=(n, 2))
        return make(5 + C[:, :1], np.full((n, 3), 2.0), C, age=age)

    train, validation, test = data(80), data(30), data(20)
    found = forecasts(name, train, validation, test)
    for label, y_hat in found.items():
        assert np.isfinite(y_hat).all()
        if next(r for r in baselines() if r.name == name).information == "F" and name != "kNN":
            assert y_hat == pytest.approx(np.full((20, 1), train.y(label).mean()), abs=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_constant_labels_are_forecast_exactly(name, linear):
    def flat(data):
        value = [[4.0, 4.0]] * len(data)
        same = pl.Series(value, dtype=pl.List(pl.Float64))
        # nothing counted yet: the total is the increment
        zero = pl.zeros(len(data), dtype=pl.Int64, eager=True)
        return replace(
            data, examples=data.examples.with_columns(increment=same, total=same, observed=zero)
        )

    train, validation, test = (flat(linear(n, n)) for n in (60, 30, 20))
    for y_hat in forecasts(name, train, validation, test).values():
        assert y_hat == pytest.approx(np.full((20, 2), 4.0), abs=1e-6)


@pytest.mark.parametrize("name", ["kNN", "Hawkes", "HIP"])
def test_a_kind_and_a_video_that_training_did_not_have(name, make):
    rng = np.random.default_rng(0)

    def data(n, kinds):
        events = [np.sort(rng.uniform(0, 1, rng.integers(0, 30))) for _ in range(n)]
        seen = np.array([len(e) for e in events])
        F = np.log2(1 + seen)[:, None]
        made = make(np.log2(1 + 3.0 * seen)[:, None], F, np.zeros((n, 1)), events=events)
        other = made.observed.with_columns(kind=pl.lit("gift"))
        return replace(made, observed=pl.concat([made.observed, other]), kinds=kinds)

    # `absent` is among the kinds without a single row, `gift` has rows and is not among them
    train, validation, test = (data(n, ["view", "absent"]) for n in (60, 30, 20))
    for y_hat in forecasts(name, train, validation, test).values():
        assert np.isfinite(y_hat).all()
