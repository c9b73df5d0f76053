"""The Hawkes intensity process against its definition, and the row made of it."""

import numpy as np
import pytest

from m3tr.baselines.base import Line
from m3tr.baselines.hip import HawkesIntensity
from m3tr.baselines.hip_process import (
    HIP,
    Kernel,
    Windows,
    _two_nonnegative,
    expected_after,
    fit,
)
from tests.baselines.series import expected, windows_of, with_scale

KERNEL = Kernel(branching=0.7, c=0.8, theta=0.9)
TRUTH = Kernel(branching=0.9, c=1.0, theta=0.5)  # of the simulated videos


def recursion(kernel, gamma, eta, mu, promotion):
    """The definition, term by term; C from the branching ratio, a sum with an integral's tail."""
    u = np.arange(1, 1_000_001) + kernel.c
    tail = (u[-1] + 0.5) ** -kernel.theta / kernel.theta
    scale = kernel.branching / ((u ** -(1 + kernel.theta)).sum() + tail)
    xi = np.zeros(len(promotion))
    for t in range(len(promotion)):
        xi[t] = (gamma if t == 0 else eta) + mu * promotion[t]
        for lag in range(1, t + 1):
            xi[t] += scale * (lag + kernel.c) ** -(1 + kernel.theta) * xi[t - lag]
    return xi


def test_expected_counts_equal_the_recursion():
    promotion = np.random.default_rng(0).uniform(0, 5, 40)
    found = expected(KERNEL, 100.0, 3.0, 2.0, promotion)
    assert found == pytest.approx(recursion(KERNEL, 100.0, 3.0, 2.0, promotion))


def test_expected_counts_are_linear_in_gamma_eta_and_mu():
    s = np.random.default_rng(1).uniform(0, 5, 30)
    parts = [expected(KERNEL, *unit, s) for unit in np.eye(3)]
    together = expected(KERNEL, 10.0, 0.5, 2.0, s)
    assert together == pytest.approx(10 * parts[0] + 0.5 * parts[1] + 2 * parts[2])


def test_the_branching_ratio_is_the_sum_of_the_kernel():
    kernel = Kernel(0.7, 2.5, 3.0)
    assert kernel.phi(100_000).sum() == pytest.approx(0.7, rel=1e-6)
    again = with_scale(2.0, 2.5, 3.0)
    assert again.phi(9) == pytest.approx(2.0 * (np.arange(1, 10) + 2.5) ** -4.0)
    assert np.isfinite(Kernel(0.7, 100.0, 50.0).phi(300)).all()


def test_the_endogenous_response_is_the_long_run_sum():
    kernel = Kernel(0.7, 1.0, 4.0)
    assert kernel.response(3000).sum() == pytest.approx(1 / (1 - 0.7), rel=1e-4)


def test_non_negative_least_squares_equals_scipy():
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    A, B, y = (rng.normal(size=(50, 6)) for _ in range(3))
    B[:3] = A[:3]  # collinear
    B[3:6] = 0.0
    weight = rng.uniform(0.1, 2, (50, 6))
    a, b, error = _two_nonnegative(A, B, y, weight)
    for i in range(50):
        root = np.sqrt(weight[i])
        _, norm = nnls(np.column_stack([A[i] * root, B[i] * root]), y[i] * root)
        assert error[i] == pytest.approx(norm**2, abs=1e-9)
    assert (a >= 0).all() and (b >= 0).all()


def test_fit_recovers_a_series_without_noise():
    s = np.zeros(90)
    s[[10, 40, 41]] = [50, 200, 80]
    views = expected(KERNEL, 500.0, 4.0, 3.0, s)
    windows = windows_of(views, s)
    process = fit(windows)
    gamma, eta, error = process.own(windows)
    assert error[0] < 1e-4 * (views**2).sum()
    assert process.mu == pytest.approx(3.0, rel=0.05)
    again = expected(process.kernel, gamma[0], eta[0], process.mu, s)
    assert ((again - views) ** 2).sum() == pytest.approx(error[0], rel=1e-6)


def test_what_follows_the_clock_is_the_series_prolonged():
    s = np.concatenate([np.random.default_rng(2).uniform(0, 9, 12), np.zeros(30)])
    xi = expected(KERNEL, 80.0, 5.0, 2.0, s)
    windows = windows_of(xi[:12], s[:12])
    after = expected_after(HIP(KERNEL, 2.0), windows, np.array([[0.0, 1.0, 7.0, 7.5, 30.0]]))[0]
    cumulative = np.concatenate([[0.0], np.cumsum(xi[12:])])
    assert after[[0, 1, 2, 4]] == pytest.approx(cumulative[[0, 1, 7, 30]])
    assert after[3] == pytest.approx((cumulative[7] + cumulative[8]) / 2)


def test_a_first_reading_stands_for_all_before_it():
    s = np.random.default_rng(3).uniform(0, 9, 10)
    xi = expected(KERNEL, 80.0, 5.0, 2.0, s)
    # read first at the end of the seventh step: four columns are known, the first is a sum
    pooled = np.concatenate([[xi[:7].sum()], xi[7:]])[None]
    windows = Windows(pooled, np.zeros((1, 4)), np.array([10]), np.array([0]), np.ones((1, 4)))
    A, B, _ = windows.columns(KERNEL.response(11))
    one, two = expected(KERNEL, 1, 0, 0, s * 0), expected(KERNEL, 0, 1, 0, s * 0)
    for found, whole in ((A, one), (B, two)):
        assert found[0] == pytest.approx(np.concatenate([[whole[:7].sum()], whole[7:]]))


def intensities(make, n, seed):
    """Videos whose daily counts follow one kernel; eight days are seen, eight follow."""
    rng = np.random.default_rng(seed)
    events, after = [], []
    for _ in range(n):
        xi = expected(TRUTH, rng.uniform(20, 300), rng.uniform(0, 5), 0.0, np.zeros(16))
        days = rng.poisson(xi)
        times = np.sort(np.repeat(np.arange(16), days) + rng.uniform(0, 1, days.sum()))
        events.append(times[times <= 8])
        after.append((times > 8).sum())
    nothing = np.zeros((n, 1))
    y = np.log2(1 + np.array(after))[:, None]
    return make(y, nothing, nothing, events=events, age=8.0, lead=8.0)


def test_the_row_errs_little_more_than_the_true_kernel(make):
    train, validation, test = (intensities(make, n, i) for i, n in enumerate((400, 100, 400)))
    row = HawkesIntensity().fit(train, validation, "increment")
    assert row.step == 1.0 and row.promotion is None
    y = test.y("increment")
    error = np.mean((row.predict(test) - y) ** 2)
    row.process = HIP(TRUTH, 0.0)
    row.line = Line().fit(row.raw(train), train.y("increment"))
    assert error < 1.2 * np.mean((row.predict(test) - y) ** 2)
    assert error < 0.3 * y.var()


def test_the_row_reads_no_outcome_but_those_of_training(make):
    train, validation, test = (
        intensities(make, n, seed) for n, seed in ((60, 0), (20, 1), (20, 2))
    )
    row = HawkesIntensity().fit(train, validation, "increment")
    windows = row.windows(test)
    assert windows.count.sum() == test.examples["observed"].sum()
    assert (windows.steps == 8).all() and windows.count.shape[1] == 8
