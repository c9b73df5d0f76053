"""The LightGBM rows: what they read, learn, and that they repeat."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m3tr.baselines.lightgbm import LightGBM, LightGBMAverage, LightGBMResidual
from m3tr.boosting import GRID, Boosting


@pytest.mark.parametrize(("information", "foreign"), [("C", "X_feedback"), ("F", "X_content")])
def test_lightgbm_reads_only_its_information_set(linear, information, foreign):
    train, validation, test = linear(120, 0), linear(40, 1), linear(40, 2)
    rng = np.random.default_rng(9)
    noisy = [
        replace(d, **{foreign: rng.normal(size=getattr(d, foreign).shape)})
        for d in (train, validation, test)
    ]
    kept = LightGBM(information, tuning=2, seeds=1).fit(train, validation, "increment")
    other = LightGBM(information, tuning=2, seeds=1).fit(*noisy[:2], "increment")
    assert np.array_equal(kept.predict(test), other.predict(noisy[2]))


def test_lightgbm_learns_what_it_may_see(linear):
    train, validation, test = linear(800, 0), linear(200, 1), linear(200, 2)
    y = test.y("increment")

    def nmse(information):
        row = LightGBM(information, tuning=1, seeds=2).fit(train, validation, "increment")
        return ((row.predict(test) - y) ** 2).mean(0) / y.var(0)

    assert (nmse("F") < 0.1).all()
    assert (nmse("CF") < 0.1).all()
    assert (nmse("C") > 0.9).all()  # the label does not depend on content


def test_lightgbm_is_deterministic_for_any_number_of_threads(linear):
    train, validation, test = linear(120, 0), linear(40, 1), linear(40, 2)
    one, *others = (
        LightGBM("CF", tuning=6, seeds=4, n_jobs=j).fit(train, validation, "total").predict(test)
        for j in (1, 2, 8)
    )
    assert all(np.array_equal(one, other) for other in others)


def test_lightgbm_candidates_are_in_the_grid_and_repeat():
    candidates = Boosting(6, 1, 1, 0).candidates()
    assert len(candidates) == 6
    assert candidates == Boosting(6, 1, 1, 0).candidates()
    for settings in candidates:
        assert all(value in GRID[name] for name, value in settings.items())


def test_lightgbm_without_validation_uses_the_default(linear):
    train = linear(60, 0)
    empty = linear(0, 1)
    assert LightGBM("F", tuning=3, seeds=1).fit(train, empty, "increment").predict(train).shape == (
        60,
        2,
    )


def test_the_first_candidates_do_not_depend_on_the_budget():
    long = Boosting(12, 1, 1, 3).candidates()
    for budget in (1, 3, 8):
        assert Boosting(budget, 1, 1, 3).candidates() == long[:budget]


def test_content_rows_learn_the_total_and_do_not_know_the_count_so_far(linear):
    train, validation, test = linear(120, 0), linear(40, 1), linear(40, 2)
    row = LightGBM("C", tuning=1, seeds=1).fit(train, validation, "total")
    blind = replace(test, examples=test.examples.with_columns(observed=pl.lit(10**9)))
    assert np.array_equal(row.predict(test), row.predict(blind))


def test_trees_on_a_residual_extrapolate_where_trees_alone_do_not(make):
    rng = np.random.default_rng(0)

    def data(low, high):
        F = rng.uniform(low, high, (400, 1))
        return make(20 + 2 * F + np.sin(9 * F), F, rng.normal(size=(400, 1)))

    train, validation, far = data(-2, 2), data(-2, 2), data(2.5, 3.5)
    y = far.y("increment")
    raw, residual = LightGBM("CF", 1, 1), LightGBMResidual("CF", 1, 1)
    errors = [
        np.mean((row.fit(train, validation, "increment").predict(far) - y) ** 2)
        for row in (raw, residual)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_the_residual_row_keeps_creators_whole(make):
    """A creator's level can be read from a unique column: only in-sample forecasts would use it."""
    rng = np.random.default_rng(1)
    creator = np.repeat(np.arange(30), 10)
    C = np.eye(30)[creator]
    y = 8 + 2 * rng.normal(size=30)[creator][:, None] + 0.01 * rng.normal(size=(300, 1))
    data = make(y, np.zeros((300, 1)), C)
    named = data.videos.with_columns(creator_id=pl.Series([f"c{c}" for c in creator]))
    whole, alone = replace(data, videos=named), data
    rows = [LightGBMResidual("CF", 1, 1).fit(d, d, "increment") for d in (whole, alone)]
    trees = [
        np.abs(row.predict(data) - row.base.predict(data.covariates("CF"))).mean() for row in rows
    ]
    assert trees[0] > 3 * trees[1]


def test_the_average_is_the_mean_and_fits_nothing_again(linear):
    train, validation, test = linear(150, 0), linear(50, 1), linear(40, 2)
    rows = LightGBM("CF", 1, 1), LightGBMResidual("CF", 1, 1)
    for row in rows:
        row.fit(train, validation, "increment")
    models = [row.boosting.models for row in rows]
    average = LightGBMAverage(*rows).fit(train, validation, "increment")
    assert all(row.boosting.models is kept for row, kept in zip(rows, models, strict=True))
    each = [row.predict(test) for row in rows]
    assert average.predict(test) == pytest.approx(np.mean(each, axis=0))
    total = average.fit(train, validation, "total").predict(test)
    observed = test.examples["observed"].to_numpy()[:, None]
    assert np.exp2(total) == pytest.approx(observed + np.exp2(np.mean(each, axis=0)))
