"""The base forecast: recovers a linear truth; out-of-fold forecasts never see their own group."""

import numpy as np
import pytest

from m3tr.data.ridge import BaseForecast, out_of_fold


@pytest.fixture
def linear():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6)) * [1, 10, 0.1, 1, 1, 1] + [0, 5, 0, 0, 100, 0]
    X[:, 5] = 3.0  # constant in training
    truth = np.array([[1.0, -0.2, 4.0, 0, 0, 0], [0.5, 0.1, 0, -1, 0.3, 0]])
    return rng, X, X @ truth.T + [2.0, -7.0], truth


def test_a_linear_truth_is_recovered(linear):
    rng, X, y, truth = linear
    base = BaseForecast().fit(X[:200], y[:200])
    assert np.abs(base.predict(X[200:]) - y[200:]).max() < 0.05
    slope = base.arrays["coef"] / base.arrays["scale"]
    assert np.allclose(slope[:, :5], truth[:, :5], atol=0.02)


def test_a_constant_column_and_an_outlier_do_no_harm(linear):
    rng, X, y, _ = linear
    base = BaseForecast().fit(X, y)
    odd = X[:5].copy()
    odd[:, 5] = 4.0  # never varied in training
    assert np.allclose(base.predict(odd), base.predict(X[:5]), atol=1e-6)
    odd[:, 0] = 1e12
    assert np.abs(base.predict(odd) - y.mean(0)).max() < 20


def test_arrays_are_all_there_is(linear):
    _, X, y, _ = linear
    base = BaseForecast().fit(X, y)
    assert np.array_equal(BaseForecast.from_arrays(base.arrays).predict(X), base.predict(X))


def test_out_of_fold_never_sees_its_own_group(linear):
    rng, X, y, _ = linear
    y = y + rng.normal(size=y.shape)
    groups = rng.integers(0, 40, len(X))
    before = out_of_fold(X, y, groups, seed=1)
    for group in (0, 7, 23):
        own = groups == group
        after = out_of_fold(X, np.where(own[:, None], y + 50, y), groups, seed=1)
        assert np.array_equal(after[own], before[own])
        assert not np.allclose(after[~own], before[~own])  # others have learned from it


def test_out_of_fold_errs_more_than_in_sample(linear):
    """With noise and many columns, in-sample residuals are too small; these are not."""
    rng, *_ = linear
    X, y = rng.normal(size=(80, 30)), rng.normal(size=(80, 1))
    y = y + X[:, :1]
    inside = BaseForecast().fit(X, y).predict(X)
    outside = out_of_fold(X, y, np.arange(80), seed=0)
    assert np.mean((outside - y) ** 2) > 1.2 * np.mean((inside - y) ** 2)


def test_few_groups_are_enough(linear):
    rng, X, y, _ = linear
    two = out_of_fold(X[:40], y[:40], np.repeat([0, 1], 20), seed=0)
    assert np.isfinite(two).all()
