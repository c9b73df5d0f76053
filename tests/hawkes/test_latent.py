"""Latent trajectory classes: found again by EM, read from young videos."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linear_sum_assignment, minimize_scalar

from m3tr.hawkes import latent
from m3tr.hawkes.daily import exposure
from m3tr.hawkes.histories import Histories
from m3tr.hawkes.latent import SHAPE, SHORTEST, LatentClasses, Prior, age_bins
from m3tr.hawkes.latent_numba import excitation, volumes
from m3tr.hawkes.simulate import simulate
from tests.hawkes.trajectories import (
    END,
    KINDS,
    SEEN,
    VIDEOS,
    immigrant_rate,
    integral,
    jumps,
    log_joint,
    places_of,
    random_histories,
    random_process,
    truth,
)


@pytest.fixture(scope="module")
def whole(simulated):
    rows, examples, _ = simulated
    return Histories.of(rows, examples.with_columns(age_days=pl.lit(END)), KINDS)


def fitted_on(h: Histories, seed: int = 0) -> LatentClasses:
    return LatentClasses().fit(
        h, np.full(len(h), SEEN), 3, len(KINDS), truth().arrays["beta"], seed
    )


@pytest.fixture(scope="module")
def fitted(whole):
    return fitted_on(whole)


@pytest.fixture(scope="module")
def order(fitted, whole, simulated):
    """Which fitted class is which true one: (3,), by most videos in common."""
    found = fitted.read(whole).log_class.argmax(1)
    common = np.zeros((3, 3))
    np.add.at(common, (simulated[2], found), 1)
    return linear_sum_assignment(-common)[1]


def log_likelihood(process: LatentClasses, h: Histories) -> float:
    """Of whole histories, a video: at the likeliest volumes, the excitation's integral included."""
    a = process.arrays
    volume = np.tile(np.exp(a["log_volume"]), (len(h), 1))
    pull = excitation(h.offsets, h.time, h.kind, h.count, jumps(process), a["beta"])
    span = exposure(h.hour, np.zeros(len(h)), h.end, a["edges"], a["clock"])
    joint = volumes(
        h.offsets, h.kind, h.count, *places_of(process, h), pull, span @ a["base"].T, a["base"],
        a["mix"], a["clock"], np.tile(a["log_volume"], (len(h), 1)), SHAPE, 200, volume,
    )  # fmt: skip
    reach = -np.expm1(-a["beta"][:, None] * (h.end[h.video] - h.time)) * h.count
    children = (a["alpha"].sum(1)[:, h.kind] * reach).sum()
    total = np.logaddexp.reduce(joint + a["log_class"], 1).sum()
    return float((total - children) / len(h))


def radius(alpha: np.ndarray) -> float:
    """The branching ratio."""
    return float(np.abs(np.linalg.eigvals(alpha.sum(0))).max())


# EM


def test_em_finds_the_classes_again(fitted, order, whole, simulated):
    found = fitted.read(whole).log_class.argmax(1)
    right = np.mean(order[simulated[2]] == found)
    by_truth = np.mean(truth().read(whole).log_class.argmax(1) == simulated[2])
    assert right > 0.8 and right > by_truth - 0.06  # as well as somebody who knows the process


def test_em_finds_how_the_rates_go_over_age(fitted, order):
    edges = np.arange(5.0)
    for c, own in enumerate(order):
        a = fitted.arrays
        reached = np.r_[0, np.cumsum(a["base"][own] * np.diff(a["edges"]))]
        share = np.interp(edges, a["edges"], reached) / reached[-1]
        expected = np.r_[0, np.cumsum(truth().arrays["base"][c])] / 4
        np.testing.assert_allclose(share, expected, atol=0.07)


def test_em_finds_mixture_branching_and_clock(fitted, order, simulated):
    a, b = fitted.arrays, truth().arrays
    np.testing.assert_allclose(a["mix"][order], b["mix"], atol=0.06)
    np.testing.assert_allclose(np.exp(a["log_class"])[order], np.exp(b["log_class"]), atol=0.08)
    np.testing.assert_allclose(a["log_volume"][order], b["log_volume"], atol=0.25)
    assert radius(a["alpha"]) == pytest.approx(radius(b["alpha"]), abs=0.1)
    assert a["clock"].mean() == pytest.approx(1)
    assert np.corrcoef(a["clock"], b["clock"])[0, 1] > 0.9
    assert np.abs(a["clock"] - b["clock"]).mean() < 0.15


def test_rates_have_mean_one_and_probabilities_sum_to_one(fitted):
    a = fitted.arrays
    np.testing.assert_allclose((a["base"] * np.diff(a["edges"])).sum(1) / np.ptp(a["edges"]), 1)
    np.testing.assert_allclose(a["mix"].sum(1), 1)
    np.testing.assert_allclose(np.exp(a["log_class"]).sum(), 1)
    assert len(fitted) == 3 and all(np.isfinite(array).all() for array in a.values())


def test_em_raises_the_likelihood_above_its_start(fitted, whole, monkeypatch):
    levels = []
    for rounds in (0, 1, 5, 15):
        monkeypatch.setattr(latent, "ROUNDS", rounds)
        levels.append(log_likelihood(fitted_on(whole), whole))
    levels.append(log_likelihood(fitted, whole))
    assert levels == sorted(levels) and levels[-1] > levels[0] + 1
    # and as high as the truth's, which has no freedom to follow the sample
    assert levels[-1] > log_likelihood(truth(), whole) - 0.5


def test_one_seed_gives_one_result(fitted, whole):
    again = fitted_on(whole)
    assert fitted.arrays.keys() == again.arrays.keys()
    assert all(np.array_equal(fitted.arrays[name], again.arrays[name]) for name in again.arrays)


def test_a_fit_survives_videos_without_events(whole):
    """Some of the videos nobody saw."""
    few = whole.select(np.arange(60))
    silent = Histories(
        np.r_[few.offsets, [few.offsets[-1]] * 3], few.time, few.kind, few.count,
        np.r_[few.end, [END] * 3], np.r_[few.hour, [3.0, 12.5, 23.9]],
    )  # fmt: skip
    process = fitted_on(silent)
    assert all(np.isfinite(array).all() for array in process.arrays.values())
    assert np.isfinite(process.read(silent).volume).all()


def test_bins_are_finer_where_events_are(whole):
    edges = age_bins(whole, np.full(len(whole), SEEN))
    assert edges[0] == 0 and edges[-1] == END and SEEN in edges
    assert (np.diff(edges) > 0).all() and len(edges) == sum(latent.BINS) + 1
    before = np.histogram(whole.time, edges)[0][: latent.BINS[0]]
    assert before.max() < 2 * before.min() + 5


def bursts(unit: float, n: int = 30) -> Histories:
    """Videos of a window of so many days, each with fifty events in two short moments."""
    rng = np.random.default_rng(7)
    moments = np.array([0.31, 0.62]) * unit
    times = [np.sort(m + rng.uniform(0, 3 / 86_400, 25) * unit) for _ in range(n) for m in moments]
    return Histories(
        50 * np.arange(n + 1), np.concatenate(times), rng.integers(0, 2, 50 * n), np.ones(50 * n),
        np.full(n, unit), rng.uniform(0, 24, n),
    )  # fmt: skip


@pytest.mark.parametrize("unit", [1 / 1440, 1.0, 400.0])  # a minute, a day, a year
@pytest.mark.parametrize("share", [0.0, 0.31, 0.5, 1.0])
def test_no_bin_is_too_short_for_a_rate(unit, share):
    """Of bursts within seconds and of windows of a minute; the age of observation is an edge."""
    h = bursts(unit)
    edges = age_bins(h, np.full(len(h), share * unit))
    assert edges[0] == 0 and edges[-1] == unit and share * unit in edges
    assert np.diff(edges).min() >= min(SHORTEST, (share or 1.0) * unit / 1000)
    assert len(edges) <= sum(latent.BINS) + 1


@pytest.mark.parametrize("unit", [1 / 1440, 1.0, 400.0])
def test_bursts_are_fitted_and_read(unit):
    h = bursts(unit)
    for share in (0.0, 0.5):
        observed, beta = np.full(len(h), share * unit), np.array([10.0, 1.0]) / unit
        process = LatentClasses().fit(h, observed, 2, 2, beta, 0)
        assert all(np.isfinite(array).all() for array in process.arrays.values())
        reading = process.read(h)
        assert np.isfinite(reading.log_class).all() and (reading.volume > 0).all()
        found = process.expected(h, reading.volume, 1.5 * h.end[:, None])
        assert np.isfinite(found).all() and (found >= 0).all()


def test_without_events_there_are_bins_up_to_the_ages():
    edges = age_bins(silent(3.0), np.full(4, 1.0))
    assert edges.tolist() == [0.0, 1.0, 3.0]


def test_fewer_growths_than_classes_give_fewer_classes():
    h = silent(3.0, 60)
    process = LatentClasses().fit(h, np.ones(60), 4, 2, np.array([2.0]), 0)
    assert len(process) == 1 and process.read(h).log_class.tolist() == [[0.0]] * 60


# reading


def test_probabilities_of_a_reading_sum_to_one(fitted, young):
    reading = fitted.read(young)
    np.testing.assert_allclose(np.exp(reading.log_class).sum(1), 1, rtol=1e-12)
    assert reading.volume.shape == (VIDEOS, 3) and (reading.volume > 0).all()


def test_odds_are_those_of_the_likelihoods_written_out():
    process, h = random_process(3), random_histories(5, seed=6)
    reading, usual = process.read(h), process.arrays["log_volume"]
    for i in range(5):
        joint = [
            log_joint(process, h, i, c, reading.volume[i, c], usual[c], SHAPE) for c in range(3)
        ]
        joint = np.array(joint) + process.arrays["log_class"]
        expected = joint - np.logaddexp.reduce(joint)
        np.testing.assert_allclose(reading.log_class[i], expected, atol=1e-3)


def test_more_of_a_video_tells_more_of_its_class(simulated):
    rows, examples, of = simulated
    said = []
    for age in (0.0, 0.3, SEEN, END):
        seen = Histories.of(rows, examples.with_columns(age_days=pl.lit(age)), KINDS)
        said.append(truth().read(seen).log_class[np.arange(VIDEOS), of].mean())
    assert said == sorted(said) and said[-1] > said[0] + 0.3


def test_a_reading_is_at_the_likeliest_volume_under_strong_excitation(exciting):
    """Of hundreds of events, most of them children of others."""
    process, h = exciting
    found, usual = process.read(h).volume, process.arrays["log_volume"]
    for i in range(2):

        def minus(log_v: float, i: int = i) -> float:
            return -log_joint(process, h, i, 1, np.exp(log_v), usual[1], SHAPE)

        mode = minimize_scalar(minus, bounds=(-3, 9), method="bounded", options={"xatol": 1e-5})
        assert np.log(found[i, 1]) == pytest.approx(mode.x, abs=0.01)


@pytest.mark.parametrize("log_volume", [-3.0, 0.0, 3.0, 6.0, 9.0])
@pytest.mark.parametrize("shape", [0.2, 3.0])
def test_however_far_off_the_prior_was_the_steps_suffice(exciting, monkeypatch, log_volume, shape):
    """A video may grow a hundredfold of what its content says."""
    process, h = exciting
    prior = Prior(process.prior(len(h)).log_class, np.full((len(h), 2), log_volume), shape)
    found = process.read(h, prior)
    monkeypatch.setattr(latent, "STEPS", 2000)
    best = process.read(h, prior)
    np.testing.assert_allclose(np.log(found.volume), np.log(best.volume), atol=0.01)
    np.testing.assert_allclose(found.log_class, best.log_class, atol=0.01)


@pytest.fixture(scope="module")
def exciting():
    """A process near its bound, and twelve of its videos."""
    process = random_process(2, 2, seed=4)
    process.arrays["alpha"] *= 0.8 / radius(process.arrays["alpha"])
    process.arrays["log_volume"] = np.log([20.0, 60.0])
    h = cascades(process, 12)
    assert np.diff(h.offsets).min() > 200
    return process, h


def cascades(process: LatentClasses, n: int) -> Histories:
    """Simulated videos of class 1, of many events."""
    end, parts = 4.0, []
    grid = np.arange(0, end, 1 / 24)
    for i in range(n):
        rate = 60.0 * immigrant_rate(process, grid + 1 / 48, 0.0, 1)
        mu = rate[:, None] * process.arrays["mix"][1]
        parts.append(simulate(grid, mu, jumps(process), process.arrays["beta"], end, i))
    times, kinds = zip(*parts, strict=True)
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in times])])
    time, kind = np.concatenate(times), np.concatenate(kinds)
    return Histories(offsets, time, kind, np.ones(len(time)), np.full(n, end), np.zeros(n))


def test_what_the_prior_excludes_stays_excluded(fitted, young):
    prior = fitted.prior(VIDEOS)
    log_class = prior.log_class.copy()
    log_class[:, 1] = -np.inf
    without, usual = fitted.read(young, prior._replace(log_class=log_class)), fitted.read(young)
    assert (without.log_class[:, 1] == -np.inf).all()
    odds = usual.log_class[:, 0] - usual.log_class[:, 2]
    np.testing.assert_allclose(without.log_class[:, 0] - without.log_class[:, 2], odds, atol=1e-9)
    np.testing.assert_allclose(np.exp(without.log_class).sum(1), 1)


def silent(end: float, n: int = 4) -> Histories:
    nothing = np.zeros(0)
    return Histories(
        np.zeros(n + 1, np.int64), nothing, nothing.astype(np.int64), nothing, np.full(n, end),
        np.linspace(0.5, 23.5, n),
    )  # fmt: skip


def priors(n: int = 4) -> Prior:
    rng = np.random.default_rng(8)
    return Prior(np.log(rng.dirichlet(np.ones(3), n)), rng.normal(2, 1, (n, 3)), 1.7)


def test_at_age_zero_a_reading_is_the_prior(fitted):
    prior = priors()
    reading = fitted.read(silent(0.0), prior)
    np.testing.assert_allclose(reading.log_class, prior.log_class, atol=1e-12)
    np.testing.assert_allclose(reading.volume, np.exp(prior.log_volume), rtol=1e-12)


def test_silence_is_judged_as_under_a_gamma_prior():
    """No event in a window of mass m: probability (1 + m / rate)^-shape."""
    process, prior, h = truth(), priors(), silent(1.3)
    mass = np.array([[integral(process, 1.3, hour, c) for c in range(3)] for hour in h.hour])
    rate = prior.shape / np.exp(prior.log_volume)
    joint = prior.log_class - prior.shape * np.log1p(mass / rate)
    reading = process.read(h, prior)
    expected = joint - np.logaddexp.reduce(joint, 1, keepdims=True)
    np.testing.assert_allclose(reading.log_class, expected, atol=1e-4)
    np.testing.assert_allclose(reading.volume, prior.shape / (rate + mass), rtol=1e-4)


def test_a_video_alone_reads_as_among_others(fitted, young):
    together = fitted.read(young)
    for i in (0, 7, VIDEOS - 1):
        alone = fitted.read(young.select(np.array([i])))
        np.testing.assert_allclose(alone.log_class[0], together.log_class[i], atol=1e-10)
        np.testing.assert_allclose(alone.volume[0], together.volume[i], rtol=1e-10)


def test_the_order_of_videos_and_rows_is_irrelevant(fitted, young, simulated):
    rows, examples, _ = simulated
    turned = examples.reverse()
    again = Histories.of(rows.sample(fraction=1, shuffle=True, seed=1), turned, KINDS)
    one, two = fitted.read(young), fitted.read(again)
    np.testing.assert_allclose(two.log_class[::-1], one.log_class, atol=1e-10)
    np.testing.assert_allclose(two.volume[::-1], one.volume, rtol=1e-10)


def test_later_events_change_no_reading(fitted, young, simulated):
    rows, examples, _ = simulated
    late = pl.col("age_days") > SEEN
    other = rows.with_columns(
        count=pl.when(late).then(pl.col("count") * 50).otherwise("count"),
        kind=pl.when(late).then(pl.lit("like")).otherwise("kind"),
    )
    assert not other.equals(rows)
    one, two = fitted.read(young), fitted.read(Histories.of(other, examples, KINDS))
    assert np.array_equal(one.log_class, two.log_class)
    assert np.array_equal(one.volume, two.volume)
