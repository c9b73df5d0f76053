"""The vectorised bootstrap against resampling by hand, and its calibration."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from m3tr.evaluation import bootstrap, metrics
from m3tr.evaluation.bootstrap import Bootstrap, interval


def _resamples(boot):
    """Indices of each resample."""
    for w in boot.weights():
        for row in w:
            yield np.repeat(np.arange(boot.n), row.astype(int))


def test_statistics_are_those_of_the_resampled_rows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 30).astype(float)  # with ties
    Y_hat = np.column_stack([y + rng.normal(size=30), rng.integers(0, 3, 30)])
    boot = Bootstrap(30, 20, seed=3)
    error = (Y_hat - y[:, None]) ** 2
    nmse = boot.means(error) / boot.variances(y)[:, None]
    src = boot.src(y, Y_hat)
    for r, index in enumerate(_resamples(boot)):
        assert len(index) == 30
        for j in range(2):
            assert nmse[r, j] == pytest.approx(metrics.nmse(y[index], Y_hat[index, j]))
            assert src[r, j] == pytest.approx(spearmanr(y[index], Y_hat[index, j]).statistic)


def test_groups_are_scored_within_resamples_of_everybody():
    rng = np.random.default_rng(1)
    x, group = rng.normal(size=(25, 1)), np.arange(25) < 9
    boot = Bootstrap(25, 10)
    means = boot.means(x, group)
    for r, index in enumerate(_resamples(boot)):
        assert means[r, 0] == pytest.approx(x[index][group[index], 0].mean())


def test_chunks_change_nothing(monkeypatch):
    x = np.random.default_rng(2).normal(size=(40, 2))
    whole = Bootstrap(40, 50).means(x)
    monkeypatch.setattr(bootstrap, "CHUNK", 40 * 7)
    assert np.allclose(Bootstrap(40, 50).means(x), whole)


def test_the_interval_covers_the_true_nmse():
    rng = np.random.default_rng(4)
    hits, tries = 0, 200
    for s in range(tries):
        y = rng.normal(size=150)
        error = 0.5 * rng.normal(size=150)  # independent of y: the true nMSE is 0.25
        boot = Bootstrap(150, 200, seed=s)
        lo, hi = interval((boot.means(error[:, None] ** 2) / boot.variances(y)[:, None])[:, 0])
        hits += lo <= 0.25 <= hi
    assert 0.88 <= hits / tries <= 0.99


def test_an_interval_needs_defined_statistics():
    assert np.isnan(interval(np.array([np.nan, np.nan, 1.0]))).all()
    assert np.isnan(interval(np.zeros(0))).all()
