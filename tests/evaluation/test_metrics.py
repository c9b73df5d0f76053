"""Metrics against scikit-learn, naive loops and closed cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mean_absolute_error, r2_score

from m3tr.evaluation import metrics

RNG = np.random.default_rng(0)
Y = RNG.normal(8, 2, 333)
Y_HAT = Y + RNG.normal(0, 1, 333)


def test_nmse_is_one_minus_r2():
    assert metrics.nmse(Y, Y_HAT) == pytest.approx(1 - r2_score(Y, Y_HAT))


def test_the_mean_scores_exactly_one_and_the_truth_zero():
    assert metrics.nmse(Y, np.full(333, Y.mean())) == pytest.approx(1.0, abs=1e-12)
    assert metrics.nmse(Y, Y) == 0.0
    assert metrics.skill(Y, Y, Y_HAT) == 1.0
    assert metrics.skill(Y, Y_HAT, Y_HAT) == 0.0


def test_mae_is_scikit_learns():
    assert metrics.mae(Y, Y_HAT) == pytest.approx(mean_absolute_error(Y, Y_HAT))


@given(arrays(np.int64, 12, elements=st.integers(0, 5)), st.permutations(range(12)))
def test_src_is_the_correlation_of_average_ranks(y, order):
    y_hat = y[np.array(order)].astype(float)
    rank = [np.array([np.mean(np.flatnonzero(np.sort(x) == v)) for v in x]) for x in (y, y_hat)]
    expected = np.corrcoef(*rank)[0, 1] if np.ptp(y) else math.nan
    assert metrics.src(y, y_hat) == pytest.approx(expected, nan_ok=True)


def test_src_of_a_constant_is_not_defined():
    assert math.isnan(metrics.src(Y, np.zeros(333)))


def test_coverage_and_width_by_loop():
    lo, hi = Y_HAT - 0.5, Y_HAT + 1.0
    inside = sum(bool(low <= y <= high) for low, y, high in zip(lo, Y, hi, strict=True))
    assert metrics.coverage(Y, lo, hi) == pytest.approx(inside / 333)
    assert metrics.width(lo, hi) == pytest.approx(1.5)
    assert math.isnan(metrics.coverage(Y, np.full(333, np.nan), hi))


def test_precision_at_top_by_loop():
    k = math.ceil(0.2 * 333)
    by_hand = len(set(np.argsort(-Y)[:k]) & set(np.argsort(-Y_HAT)[:k])) / k
    assert metrics.precision_at_top(Y, Y_HAT) == pytest.approx(by_hand)


def test_precision_at_top_of_ties_is_the_expectation_of_a_random_order():
    assert metrics.precision_at_top(np.arange(100.0), np.zeros(100)) == pytest.approx(0.2)
    y = np.array([5.0, 4, 3, 2, 1, 0, 0, 0, 0, 0])
    y_hat = np.array([1.0, 1, 1, 1, 0, 0, 0, 0, 0, 0])  # two of four tied places, each half likely
    assert metrics.precision_at_top(y, y_hat) == pytest.approx(0.5)


def test_batched_is_the_mean_over_batches():
    batches = [(Y[i : i + 100], Y_HAT[i : i + 100]) for i in (0, 100, 200, 300)]
    expected = np.mean([1 - r2_score(a, b) for a, b in batches])
    assert metrics.batched(metrics.nmse, Y, Y_HAT, 100) == pytest.approx(expected)
    assert metrics.batched(metrics.nmse, Y, Y_HAT, 1000) == pytest.approx(metrics.nmse(Y, Y_HAT))
