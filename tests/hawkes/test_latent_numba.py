"""The compiled loops against sums over pairs and integrals on a grid."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from m3tr.hawkes.latent_numba import excitation, immigrants, volumes
from tests.hawkes.trajectories import (
    excited,
    immigrant_rate,
    integral,
    jumps,
    log_joint,
    one,
    places_of,
    random_histories,
    random_process,
)

N, C, SHAPE = 6, 2, 2.5


@pytest.fixture(scope="module")
def process():
    return random_process(C)


@pytest.fixture(scope="module")
def h():
    """Windows of odd hours that end inside bins and, some, beyond the last edge."""
    made = random_histories(N, seed=2)
    assert (made.end > 3).any() and (made.end < 1.5).any() and (np.diff(made.time) == 0).any()
    return made


def of(process, *names):
    return [process.arrays[name] for name in names]


@pytest.fixture(scope="module")
def places(process, h):
    return places_of(process, h)


@pytest.fixture(scope="module")
def pull(process, h):
    return np.concatenate([excited(process, h, i) for i in range(N)])


@pytest.fixture(scope="module")
def mass(process, h):
    both = [[integral(process, h.end[i], h.hour[i], c) for c in range(C)] for i in range(N)]
    return np.array(both)


def test_excitation_is_the_sum_over_earlier_events_of_the_same_video(process, h, pull):
    found = excitation(h.offsets, h.time, h.kind, h.count, jumps(process), process.arrays["beta"])
    assert (pull > 0).sum() > len(pull) / 2
    np.testing.assert_allclose(found, pull, rtol=1e-12)


def test_events_at_one_time_do_not_excite_each_other(process):
    time, kind = np.array([0.5, 0.5, 0.5]), np.array([0, 1, 2])
    args = np.array([0, 3]), time, kind, np.full(3, 7.0)
    assert not excitation(*args, jumps(process), process.arrays["beta"]).any()


def test_the_hour_and_bin_of_events_are_those_of_the_integrals(process, h, places):
    """Else the intensity at an event would not be the one that is integrated."""
    b, hour = places
    for i in range(N):
        time, part = one(h, i)[0], slice(*h.offsets[i : i + 2])
        for c in range(C):
            base, clock = of(process, "base", "clock")
            expected = immigrant_rate(process, time, h.hour[i], c)
            assert np.array_equal(base[c, b[part]] * clock[hour[part]], expected)


def run(process, h, places, pull, mass, volume, steps):
    log_volume = np.tile(process.arrays["log_volume"], (N, 1))
    return volumes(
        h.offsets, h.kind, h.count, *places, pull, mass, *of(process, "base", "mix", "clock"),
        log_volume, SHAPE, steps, volume,
    )  # fmt: skip


def test_the_log_likelihood_is_the_sum_of_logs_less_the_integral(process, h, places, pull, mass):
    volume = np.random.default_rng(1).uniform(2, 30, (N, C))
    given = volume.copy()
    found = run(process, h, places, pull, mass, volume, 0)
    assert np.array_equal(volume, given)  # no steps: at the volume that is given
    usual = process.arrays["log_volume"]
    expected = [
        [log_joint(process, h, i, c, given[i, c], usual[c], SHAPE) for c in range(C)]
        for i in range(N)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_each_step_goes_up_and_the_last_volume_is_the_likeliest(process, h, places, pull, mass):
    volume = np.exp(np.tile(process.arrays["log_volume"], (N, 1)))
    before = run(process, h, places, pull, mass, volume, 0)
    for _ in range(20):
        after = run(process, h, places, pull, mass, volume, 1)
        assert (after >= before - 1e-9).all()
        before = after
    best = run(process, h, places, pull, mass, volume, 400)
    for i in range(N):
        for c in range(C):

            def minus(log_v: float, i: int = i, c: int = c) -> float:
                tried = np.full((N, C), np.exp(log_v))
                return -float(run(process, h, places, pull, mass, tried, 0)[i, c])

            found = minimize_scalar(
                minus, bounds=(-5, 8), method="bounded", options={"xatol": 1e-7}
            )
            assert np.log(volume[i, c]) == pytest.approx(found.x, abs=1e-4)
            assert best[i, c] == pytest.approx(-found.fun, abs=1e-7)


def test_immigrants_and_children_are_the_expected_numbers_of_events(process, h, places, pull):
    rng = np.random.default_rng(3)
    volume, share = rng.uniform(2, 30, (N, C)), rng.dirichlet(np.ones(C), N)
    base, mix, clock, beta = of(process, "base", "mix", "clock", "beta")
    jump = jumps(process)
    by_bin, by_kind, at_hour, children = immigrants(
        h.offsets, h.time, h.kind, h.count, *places, pull, base, mix, clock, volume, share, jump,
        beta,
    )  # fmt: skip
    # every event is an immigrant or a child, in the classes' shares
    assert by_bin.sum() + children.sum() == pytest.approx(h.count.sum())
    assert by_bin.sum() == pytest.approx(by_kind.sum()) == pytest.approx(at_hour.sum())
    received = by_kind.sum(0) + children.sum((0, 2))
    np.testing.assert_allclose(received, np.bincount(h.kind, h.count), rtol=1e-9)

    bin_, kind_, hour_ = np.zeros(base.shape), np.zeros(mix.shape), np.zeros(24)
    caused = np.zeros(children.shape)
    for i in range(N):
        time, kind, count = one(h, i)
        for j in range(len(time)):
            b, hour = places[0][h.offsets[i] + j], places[1][h.offsets[i] + j]
            by = np.zeros(children.shape)
            for e in range(j):
                if time[e] < time[j]:
                    fade = np.exp(-beta * (time[j] - time[e]))
                    by[:, kind[j], kind[e]] += jump[:, kind[j], kind[e]] * fade * count[e]
            for c in range(C):
                own = volume[i, c] * base[c, b] * mix[c, kind[j]] * clock[hour]
                part = share[i, c] * count[j] / (own + by.sum())
                bin_[c, b] += part * own
                kind_[c, kind[j]] += part * own
                hour_[hour] += part * own
                caused += part * by
    for found, expected in ((by_bin, bin_), (by_kind, kind_), (at_hour, hour_), (children, caused)):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_a_class_without_a_share_learns_nothing(process, h, places, pull):
    share = np.tile([1.0, 0.0], (N, 1))
    by_bin, by_kind, _, children = immigrants(
        h.offsets, h.time, h.kind, h.count, *places, pull, *of(process, "base", "mix", "clock"),
        np.full((N, C), 9.0), share, jumps(process), process.arrays["beta"],
    )  # fmt: skip
    assert not by_bin[1].any() and not by_kind[1].any()
    assert by_bin[0].sum() + children.sum() == pytest.approx(h.count.sum())
