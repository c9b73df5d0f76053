"""Predictive distributions: nominal coverage, overall and by decile, and what may not happen."""

import numpy as np
import pytest

from m3tr.errors import InputError
from m3tr.model.intervals import PRIOR, Intervals
from m3tr.quantiles import LEVELS, conformal


def world(n, seed, spread=lambda level: 0.3 + 0.2 * (20 - level)):
    """Inputs (n, 3), forecasts (n, 1) and errors (n, 1); spread and skewness known."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(2, 10, (n, 1)) + 10  # far from 0, where intervals are cut
    X = np.hstack([level, rng.normal(size=(n, 2))])
    skewed = rng.gamma(4, 0.5, (n, 1)) - 2  # mean 0, long upper tail
    return X, level, spread(level) * skewed


def fitted(train, validation, coverage=0.8):
    return Intervals().fit(train, validation, coverage)


def constant_width(validation, test, coverage):
    """The interval of one half width for all."""
    errors = np.abs(validation[2])
    rank = min(int(np.ceil((len(errors) + 1) * coverage)), len(errors))
    half = np.sort(errors, 0)[rank - 1]
    return test[1] - half, test[1] + half


def by_decile(test, lo, hi):
    """Coverage in tenths of the forecast, lowest first."""
    y = test[1] + test[2]
    inside = ((lo <= y) & (y <= hi))[:, 0]
    return np.array([inside[i].mean() for i in np.array_split(np.argsort(test[1][:, 0]), 10)])


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_exchangeable_errors_are_covered_as_often_as_said(coverage):
    """Over many draws of validation: the mean of the coverages, to four standard errors."""
    train, test = world(2000, 0), world(4000, 1)
    y = test[1] + test[2]
    got = []
    for draw in range(60):
        lo, hi = fitted(train, world(400, 2 + draw), coverage).interval(test[0], test[1])
        got.append(np.mean((lo <= y) & (y <= hi)))
    # each calibration varies by the variance of an order statistic, all share one test sample
    variance = coverage * (1 - coverage) * (1 / (400 * 60) + 1 / 4000)
    assert np.mean(got) == pytest.approx(coverage, abs=4 * np.sqrt(variance) + 1 / 400)


def test_coverage_holds_in_every_decile_where_one_width_fails():
    new, old = [], []
    for seed in range(0, 18, 3):
        train, validation, test = world(4000, seed), world(1500, seed + 1), world(20_000, seed + 2)
        new.append(by_decile(test, *fitted(train, validation).interval(test[0], test[1])))
        old.append(by_decile(test, *constant_width(validation, test, 0.8)))
    assert np.abs(np.mean(new, 0) - 0.8).max() < 0.03
    assert np.abs(np.mean(old, 0) - 0.8).max() > 0.15 and abs(np.mean(old) - 0.8) < 0.02


def test_quantiles_have_their_levels_on_both_sides_of_skewed_errors():
    train, validation, test = world(3000, 0), world(1500, 1), world(20_000, 2)
    q = fitted(train, validation).quantiles(test[0], test[1])
    below = (test[1] + test[2] <= q[:, 0]).mean(0)
    assert np.abs(below - LEVELS).max() < 0.03


def test_the_scale_is_that_of_the_world():
    train, test = world(6000, 0), world(500, 2)
    scale = fitted(train, world(300, 1)).scale(test[0], test[1])
    ratio = scale / (0.3 + 0.2 * (20 - test[1]))
    assert np.ptp(np.log(ratio[:, 0])) < 0.5 and np.std(np.log(ratio)) < 0.1


def test_quantiles_neither_cross_nor_fall_below_zero():
    rng = np.random.default_rng(3)
    f = fitted(world(500, 0), world(100, 1))
    far = 50 * rng.normal(size=(200, 3))
    q = f.quantiles(far, np.abs(rng.normal(size=(200, 1))))
    assert q.shape == (200, 1, len(LEVELS))
    assert np.isfinite(q).all() and (q >= 0).all() and (np.diff(q, axis=2) >= 0).all()


def test_the_forecast_lies_in_its_interval_also_where_validation_is_biased():
    X, level, errors = world(200, 1)
    lo, hi = fitted(world(500, 0), (X, level, errors + 5)).interval(X, level)
    assert (lo <= level).all() and (level <= hi).all() and (lo >= 0).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_with_a_handful_of_videos_the_width_is_that_of_training(n):
    train, test = world(3000, 0), world(5000, 2)
    y = test[1] + test[2]
    for seed in range(5):
        lo, hi = fitted(train, world(n, 10 + seed)).interval(test[0], test[1])
        assert 0.6 < np.mean((lo <= y) & (y <= hi)) < 0.95


def test_many_videos_outvote_training():
    """Errors twice those of training: the prior of `PRIOR` scores is brought to their size."""
    X, level, errors = world(1000, 1)
    f, doubled = (fitted(world(3000, 0), (X, level, k * errors)) for k in (1, 2))
    widths = [np.ptp(np.stack(i.interval(X, level)), 0).mean() for i in (f, doubled)]
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.05)
    assert f.arrays["scores"].shape == (1000 + PRIOR, 1)


def test_constant_errors_are_a_point_and_no_error_has_no_width():
    X, level, _ = world(100, 0)
    for error in (0.0, 0.7):
        same = (X, level, np.full((100, 1), error))
        q = fitted(same, same).quantiles(X, level)
        assert np.allclose(q, level[:, :, None] + error, atol=1e-3)


def test_errors_of_validation_alone_are_zero():
    X, level, errors = world(100, 0)
    lo, hi = fitted((X, level, errors), (X, level, 0 * errors)).interval(X, level)
    assert np.isfinite(hi).all() and (hi - lo).max() < 1  # narrower, and not broken


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("split", "part"), [(s, p) for s in (0, 1) for p in (0, 1, 2)])
def test_what_is_not_finite_is_refused(bad, split, part):
    given = [list(world(50, 0)), list(world(50, 1))]
    given[split][part] = given[split][part].copy()
    given[split][part][3, 0] = bad
    with pytest.raises(InputError, match="not finite.*lower train.learning_rate"):
        fitted(tuple(given[0]), tuple(given[1]))


def test_saved_arrays_are_all_there_is():
    f = fitted(world(300, 0), world(50, 1), 0.9)
    X, level, _ = world(20, 2)
    again = Intervals.from_arrays(f.arrays | {"something": np.zeros(1)})
    assert again.coverage == f.coverage == 0.9
    assert np.array_equal(again.quantiles(X, level), f.quantiles(X, level))
    with pytest.raises(KeyError):
        Intervals.from_arrays({"scores": np.zeros((1, 1))})


def test_several_horizons_do_not_mix():
    a, b = [world(400, s) for s in (0, 1)], [world(400, s) for s in (5, 6)]
    wide = [
        (x[0], np.hstack([x[1], y[1]]), np.hstack([x[2], 9 * y[2]]))
        for x, y in zip(a, b, strict=True)
    ]
    lo, hi = fitted(*wide).interval(wide[1][0], wide[1][1])
    width = (hi - lo).mean(0)
    assert width[1] > 4 * width[0]
    one = conformal(wide[1][2], np.array([0.1, 0.9]))
    assert width == pytest.approx(one[:, 1] - one[:, 0], rel=0.35)
