"""Integrals of a rate by the hour of day: against sums on a fine grid, at any length."""

from time import perf_counter

import numpy as np
import pytest

from m3tr.hawkes.daily import by_hour, exposure, passed
from tests.hawkes.trajectories import random_histories, random_process

N = 6
EDGES, CLOCK = (random_process().arrays[name] for name in ("edges", "clock"))
CELLS = 200_000


@pytest.fixture(scope="module")
def h():
    """Windows of odd hours that end inside bins and, some, beyond the last edge."""
    made = random_histories(N, seed=2)
    assert (made.end > EDGES[-1]).any() and (made.end < EDGES[-2]).any()
    return made


def grid(start: float, end: float, hour: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Bin and hour of day of the cells of a window, and their length."""
    middle = start + (np.arange(CELLS) + 0.5) * (end - start) / CELLS
    place = np.clip(np.searchsorted(EDGES, middle) - 1, 0, len(EDGES) - 2)
    return place, np.floor(hour + 24 * middle).astype(int) % 24, (end - start) / CELLS


def summed(start: float, end: float, hour: float) -> np.ndarray:
    """The exposure of a window, on the grid."""
    place, of_day, step = grid(start, end, hour)
    return np.bincount(place, CLOCK[of_day] * step, len(EDGES) - 1)


@pytest.mark.parametrize("share", [0.0, 0.37])
def test_exposure_is_the_integral_of_the_clock_over_each_bin(h, share):
    start = share * h.end
    found = exposure(h.hour, start, h.end, EDGES, CLOCK)
    for i in range(N):
        np.testing.assert_allclose(found[i], summed(start[i], h.end[i], h.hour[i]), atol=1e-4)
    assert (found[h.end < EDGES[-2], -1] == 0).all()


def test_exposure_of_an_even_clock_is_the_length_of_the_window(h):
    found = exposure(h.hour, np.zeros(N), h.end, EDGES, np.ones(24))
    np.testing.assert_allclose(found.sum(1), h.end, atol=1e-12)


def test_windows_that_follow_each_other_add_up(h):
    middle = 0.6 * h.end
    parts = [(np.zeros(N), middle), (middle, h.end), (np.zeros(N), h.end)]
    one, two, both = (exposure(h.hour, *part, EDGES, CLOCK) for part in parts)
    np.testing.assert_allclose(one + two, both, atol=1e-12)


def test_a_window_beyond_the_last_edge_is_of_the_last_bin(h):
    start, end = h.end + EDGES[-1], h.end + EDGES[-1] + 1.3
    found = exposure(h.hour, start, end, EDGES, CLOCK)
    assert not found[:, :-1].any()
    for i in range(N):
        np.testing.assert_allclose(found[i], summed(start[i], end[i], h.hour[i]), atol=1e-4)


@pytest.mark.parametrize("age", [0.0, 0.77, 1.1, 3.0, 40.0])
def test_a_window_of_no_length_has_no_exposure(h, age):
    at = np.full(N, age)
    assert not exposure(h.hour, at, at, EDGES, CLOCK).any()
    nothing = by_hour(h.hour, np.zeros(N), EDGES, np.ones((N, len(EDGES) - 1)))
    np.testing.assert_allclose(nothing, 0, atol=1e-12)


def test_no_windows_have_none():
    nothing = np.zeros(0)
    assert exposure(nothing, nothing, nothing, EDGES, CLOCK).shape == (0, len(EDGES) - 1)
    assert not by_hour(nothing, nothing, EDGES, np.zeros((0, len(EDGES) - 1))).any()


def test_by_hour_is_the_integral_of_the_rates_over_each_hour_of_day(h):
    rate = np.random.default_rng(0).uniform(0.5, 2, (N, len(EDGES) - 1))
    expected = np.zeros(24)
    for i in range(N):
        place, hour, step = grid(0.0, h.end[i], h.hour[i])
        expected += np.bincount(hour, rate[i, place] * step, 24)
    np.testing.assert_allclose(by_hour(h.hour, h.end, EDGES, rate), expected, atol=3e-4)


def test_by_hour_and_exposure_are_two_sums_of_one_integral(h):
    rate = np.random.default_rng(1).uniform(0.5, 2, (N, len(EDGES) - 1))
    span = exposure(h.hour, np.zeros(N), h.end, EDGES, CLOCK)
    weighted = (by_hour(h.hour, h.end, EDGES, rate) * CLOCK).sum()
    assert weighted == pytest.approx((span * rate).sum(), rel=1e-12)


def test_a_window_of_a_thousand_years_takes_no_longer_than_a_day():
    n, days = 200, 365_000.0
    hour, edges = np.linspace(0, 23.9, n), np.array([0.0, 1.0, 400.0, 5000.0])
    rate = np.ones((n, 3))
    began = perf_counter()
    span = exposure(hour, np.zeros(n), np.full(n, days), edges, CLOCK)
    hours = by_hour(hour, np.full(n, days), edges, rate)
    assert perf_counter() - began < 0.2  # hour by hour it would be billions of steps
    expected = np.diff([0.0, 1.0, 400.0, days]) * CLOCK.mean()
    np.testing.assert_allclose(span, np.tile(expected, (n, 1)), rtol=1e-9)
    np.testing.assert_allclose(hours, n * days / 24, rtol=1e-9)


def test_what_has_passed_grows_by_the_clock_of_the_hour():
    day = passed(np.array([0.0, 0.5 / 24, 1 / 24, 1.0, 7.0]), CLOCK)
    total = CLOCK.sum() / 24
    expected = [0, CLOCK[0] / 48, CLOCK[0] / 24, total, 7 * total]
    np.testing.assert_allclose(day, expected, rtol=1e-12)
