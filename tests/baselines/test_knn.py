"""The row kNN against brute force, and what it chooses."""

import numpy as np
import pytest

from m3tr.baselines.knn import Choice, NearestNeighbours


def test_search_equals_brute_force(linear):
    train, test = linear(600, 0), linear(300, 1)
    row = NearestNeighbours().fit(train, linear(0, 2), "increment")
    Z = row.ridge.standardise(test.X_feedback)
    weight = np.abs(row.ridge.arrays["coef"][1]) ** 0.5
    places, squared = row._search(Z, 1, 0.5, 7)
    apart = (((Z[:, None] - row.Z[None]) * weight) ** 2).sum(2)
    assert squared == pytest.approx(np.sort(apart, 1)[:, :7], abs=1e-9)
    assert np.take_along_axis(apart, places, 1) == pytest.approx(squared, abs=1e-9)


def test_the_forecast_is_the_weighted_mean_of_the_neighbours(linear):
    train, test = linear(50, 0), linear(5, 1)
    row = NearestNeighbours().fit(train, linear(0, 2), "increment")
    row.choices = [Choice(3, 0.0, growth) for growth in (False, True)]
    near, squared = row._search(row.ridge.standardise(test.X_feedback), 0, 0.0, 3)
    weight = np.exp(-2 * squared / squared[:, -1:])
    weight /= weight.sum(1, keepdims=True)
    y, own = train.y("increment"), train.log_observed
    label = (y[near, 0] * weight).sum(1)
    growth = ((y[near, 1] - own[near]) * weight).sum(1) + test.log_observed
    assert row.predict(test) == pytest.approx(np.column_stack([label, growth]))


def test_columns_without_meaning_are_weighted_down(make):
    rng = np.random.default_rng(0)

    def data(n):
        F = rng.normal(size=(n, 30))
        return make(8 + 2 * F[:, :1], F, np.zeros((n, 1)))

    row = NearestNeighbours().fit(data(500), data(150), "increment")
    assert row.choices[0].power == 1.0
    test = data(100)
    y = test.y("increment")
    assert np.mean((row.predict(test) - y) ** 2) < 0.05 * y.var()


def test_growth_is_chosen_where_the_level_is_the_queries_own(make):
    rng = np.random.default_rng(0)

    def data(n, low, high):
        F = rng.normal(size=(n, 2))
        observed = rng.integers(low, high, n)
        y = np.log2(1 + observed)[:, None] + 1 + 0.3 * F[:, :1]
        return make(y, F, np.zeros((n, 1)), observed)

    train, validation, far = data(300, 10, 2000), data(100, 10, 2000), data(50, 10**6, 10**7)
    row = NearestNeighbours().fit(train, validation, "increment")
    assert row.choices[0].growth
    assert np.abs(row.predict(far) - far.y("increment")).max() < 0.6
