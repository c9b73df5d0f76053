"""Split-conformal half widths: the order statistic of the definition, and its coverage."""

import numpy as np
import pytest

from m3tr.training.fit import conformal


@pytest.mark.parametrize(("n", "coverage", "rank"), [(99, 0.8, 80), (9, 0.8, 8), (20, 0.5, 11)])
def test_it_is_the_order_statistic(n, coverage, rank):
    rng = np.random.default_rng(0)
    errors = rng.exponential(size=(n, 3))
    assert np.array_equal(conformal(errors, coverage), np.sort(errors, 0)[rank - 1])


def test_too_few_errors_give_the_largest():
    errors = np.array([[1.0], [3.0], [2.0]])
    assert conformal(errors, 0.95) == 3.0
    assert conformal(errors[:1], 0.5) == 1.0


@pytest.mark.parametrize("n", [10, 49, 200])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_coverage_on_simulated_errors(n, coverage):
    """Exchangeable errors are covered with probability rank / (n + 1), whatever they are."""
    rng = np.random.default_rng(1)
    worlds = 4000
    errors = np.abs(rng.standard_t(3, size=(n + 1, worlds)))
    half = conformal(errors[:n], coverage)
    got = np.mean(errors[n] <= half)
    rank = min(np.ceil((n + 1) * coverage - 1e-9), n)
    expected = rank / (n + 1)
    assert got == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / worlds))
    if rank < n:
        assert coverage <= expected <= coverage + 1 / (n + 1)
