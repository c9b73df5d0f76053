"""Conformal ranks and the CRPS, against definitions, closed forms and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from m3tr.quantiles import LEVELS, central, conformal, crps_from_quantiles

FLOATS = st.floats(-50, 50, allow_nan=False)


@pytest.mark.parametrize(("n", "coverage", "low", "high"), [(99, 0.8, 10, 90), (19, 0.9, 1, 19)])
def test_ranks_of_an_interval(n, coverage, low, high):
    scores = np.random.default_rng(0).normal(size=(n, 3))
    ends = conformal(scores, central(coverage))
    assert np.array_equal(ends, np.sort(scores, 0)[[low - 1, high - 1]].T)


def test_ranks_that_a_sample_lacks_are_its_ends():
    assert conformal(np.array([[1.0], [3.0]]), np.array([0.01, 0.5, 0.99])).tolist() == [[1, 3, 3]]
    assert conformal(np.array([[2.0]]), LEVELS).tolist() == [[2.0] * len(LEVELS)]


@given(arrays(float, st.tuples(st.integers(1, 60), st.just(2)), elements=FLOATS))
def test_conformal_quantiles_do_not_cross(scores):
    assert (np.diff(conformal(scores), axis=1) >= 0).all()


@pytest.mark.parametrize("n", [30, 99, 200])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_coverage_of_exchangeable_scores(n, coverage):
    """At least nominal, and at most by the two ranks more; errors are skewed."""
    worlds = 6000
    scores = np.random.default_rng(1).exponential(size=(n + 1, worlds))
    lo, hi = conformal(scores[:n], central(coverage)).T
    got = np.mean((lo < scores[n]) & (scores[n] <= hi))
    noise = 4 * np.sqrt(coverage * (1 - coverage) / worlds)
    assert coverage - noise <= got <= coverage + 2 / (n + 1) + noise


def test_a_point_forecast_scores_its_absolute_error():
    y = np.array([1.0, 4.0, -2.0])
    points = np.full((3, len(LEVELS)), 1.5)
    assert np.allclose(crps_from_quantiles(y, points), np.abs(y - 1.5))


@given(arrays(float, 40, elements=FLOATS), FLOATS)
def test_of_a_sample_it_is_the_sample_crps(sample, y):
    """`E|X - y| - E|X - X'| / 2`, exactly."""
    own = np.mean(np.abs(sample - y)) - np.abs(sample[:, None] - sample).mean() / 2
    assert crps_from_quantiles(np.array(y), np.sort(sample)) == pytest.approx(own, abs=1e-9)


def test_of_a_gaussian_it_is_the_closed_form():
    y = np.random.default_rng(0).normal(1, 2, 4000)
    z = (y - 1) / 2
    closed = 2 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    levels = (np.arange(2000) + 0.5) / 2000
    fine = crps_from_quantiles(y, np.broadcast_to(norm.ppf(levels, 1, 2), (4000, 2000)), levels)
    assert np.allclose(fine, closed, atol=2e-3)
    coarse = crps_from_quantiles(y, np.broadcast_to(norm.ppf(LEVELS, 1, 2), (4000, len(LEVELS))))
    assert coarse.mean() == pytest.approx(closed.mean(), rel=0.01)


def test_the_true_distribution_scores_best():
    y = np.random.default_rng(0).normal(size=20_000)
    shape = (len(y), len(LEVELS))
    score = {
        (m, s): crps_from_quantiles(y, np.broadcast_to(norm.ppf(LEVELS, m, s), shape)).mean()
        for m in (-0.3, 0, 0.3)
        for s in (0.6, 1, 1.6)
    }
    assert min(score, key=score.get) == (0, 1)
