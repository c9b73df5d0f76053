"""What the classes expect of a video: closed forms, matrix exponentials, simulated futures."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.linalg import expm

from m3tr.hawkes import latent
from m3tr.hawkes.histories import Histories
from m3tr.hawkes.latent import LatentClasses
from m3tr.hawkes.simulate import simulate_counts
from tests.hawkes.trajectories import (
    END,
    SEEN,
    VIDEOS,
    immigration,
    integral,
    jumps,
    one,
    random_histories,
    random_process,
    truth,
)


def constant(alpha: np.ndarray, beta: np.ndarray, mix: np.ndarray) -> LatentClasses:
    """One class of immigration that is always the same."""
    return LatentClasses.from_arrays(
        {
            "edges": np.array([0.0, 1.0]),
            "base": np.ones((1, 1)),
            "mix": mix[None],
            "clock": np.ones(24),
            "log_class": np.zeros(1),
            "log_volume": np.zeros(1),
            "alpha": alpha,
            "beta": beta,
        }
    )


@pytest.mark.parametrize(("n", "used"), [(0.4, 0.4), (0.9, 0.9), (1.7, latent.STABLE)])
def test_expected_is_the_closed_form_of_a_hawkes_process(n, used):
    """docs/model.md, 6; a process that would explode is held at the bound."""
    b, mu, lead = 2.5, np.array([[3.0], [0.2], [7.0]]), 2.0
    process = constant(np.full((1, 1, 1), n), np.array([b]), np.ones(1))
    h = random_histories(3, kinds=1, seed=3)
    found = process.expected(h, mu, h.end[:, None] + lead)[:, 0, 0]
    for i in range(3):
        part = slice(*h.offsets[i : i + 2])
        fade = np.exp(-b * (h.end[i] - h.time[part]))
        rate = mu[i, 0] + used * b * (h.count[part] * fade).sum()
        settled = mu[i, 0] / (1 - used)
        pull = -math.expm1(-b * (1 - used) * lead) / (b * (1 - used))
        assert found[i] == pytest.approx(settled * lead + (rate - settled) * pull, rel=1e-9)


def by_exponential(
    process: LatentClasses, h: Histories, i: int, volume: float, lead: float, kind: int
) -> float:
    """What `constant` expects of video `i`, by the exponential of the whole system."""
    alpha, beta, mix = (process.arrays[name] for name in ("alpha", "beta", "mix"))
    M, K = alpha.shape[:2]
    size = M * K  # states [scale, kind], then the count of `kind`, then 1
    system, start = np.zeros((size + 2, size + 2)), np.zeros(size + 2)
    for m in range(M):
        for k in range(K):
            row = K * m + k
            system[row, row] -= beta[m]
            for other in range(M):
                for source in range(K):
                    system[row, K * other + source] += alpha[other, k, source] * beta[other]
            system[row, -1] = volume * mix[0, k]
    system[size] = system[kind] + np.eye(size + 2)[kind] * beta[0]  # the intensity itself
    for time, k, count in zip(*one(h, i), strict=True):
        for m in range(M):
            start[K * m + k] += count * math.exp(-beta[m] * (h.end[i] - time))
    start[-1] = 1
    return float((expm(system * lead) @ start)[size])


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_expected_of_several_kinds_is_the_matrix_exponentials(kind):
    process = random_process(1, 3, seed=5)
    alpha, beta, mix = (process.arrays[name] for name in ("alpha", "beta", "mix"))
    process, h, volume, lead = constant(alpha, beta, mix[0]), random_histories(2, 3), 4.0, 1.7
    found = process.expected(h, np.full((2, 1), volume), h.end[:, None] + lead, kind)
    for i in range(2):
        expected = by_exponential(process, h, i, volume, lead, kind)
        assert found[i, 0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("lead", [0.01, 1.0, 20.0])
@pytest.mark.parametrize(
    "alpha",
    [
        [[0.5, 0.4], [0.0, 0.5]],
        [[0.0, 0.9], [0.0, 0.0]],
        [[0.5, 0.0], [0.4, 0.5]],
        [[0.0, 0.0], [0.0, 0.0]],
    ],
)
def test_a_system_without_all_its_eigenvectors_is_solved_too(alpha, lead):
    """Two kinds that excite themselves alike, and one of them the other."""
    process = constant(np.array([alpha]), np.array([2.0]), np.array([0.7, 0.3]))
    h = random_histories(3, kinds=2, seed=4)
    for kind in (0, 1):
        found = process.expected(h, np.full((3, 1), 5.0), h.end[:, None] + lead, kind)
        expected = [by_exponential(process, h, i, 5.0, lead, kind) for i in range(3)]
        np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-6)


def test_expected_is_the_mean_of_simulated_continuations(young):
    process, i, paths = truth(), int(np.diff(young.offsets).argmax()), 4000
    seen = young.select(np.array([i]))
    volume = np.array([[20.0, 15.0, 30.0]])
    found = process.expected(seen, volume, np.array([[1.5, END]]))
    history = seen.time, seen.kind, seen.count
    for c in range(3):
        mu = immigration(process, c, round(float(seen.hour[0])), volume[0, c])
        for q, end in enumerate((1.5, END)):
            counts = simulate_counts(
                *mu, jumps(process), process.arrays["beta"], end, c, paths, history, SEEN
            )[:, 0]
            error = 4 * counts.std() / math.sqrt(paths)
            assert found[0, c, q] == pytest.approx(counts.mean(), abs=error)


@pytest.mark.parametrize("lead", [0.9, 4.0, 29.0, 96.0])
def test_without_excitation_expected_is_volume_times_the_rates_integral(young, lead):
    """Whatever the lead: also where a step of the forecast is a day, and has no hour of its own."""
    process = truth()
    process.arrays["alpha"] = np.zeros((2, 2, 2))
    n = 4
    seen = replace(young.select(np.arange(n)), hour=np.array([0.0, 7.3, 13.99, 20.5]))
    volume = np.random.default_rng(0).uniform(1, 30, (n, 3))
    until = SEEN + lead * np.array([0.25, 1.0])  # ends of the steps 24 and 96
    for kind in (0, 1):
        found = process.expected(seen, volume, np.tile(until, (n, 1)), kind)
        for i in range(n):
            for c in range(3):
                mass = [integral(process, end, seen.hour[i], c, SEEN) for end in until]
                expected = volume[i, c] * process.arrays["mix"][c, kind] * np.array(mass)
                np.testing.assert_allclose(found[i, c], expected, rtol=1e-3)


def test_nothing_is_expected_of_the_past_and_ever_more_of_the_future(young):
    horizons = np.tile([0.0, 0.5, SEEN, 1.1, 1.5, 2.0, 3.0, END, 6.0], (VIDEOS, 1))
    found = truth().expected(young, truth().read(young).volume, horizons)
    assert found.shape == (VIDEOS, 3, 9) and np.isfinite(found).all()
    assert (found[:, :, :3] == 0).all()
    assert (np.diff(found[:, :, 2:], axis=2) > 0).all()
    past = truth().expected(young, truth().read(young).volume, horizons[:, :3])
    assert (past == 0).all()


def test_a_horizon_is_expected_alike_alone_and_among_others(young):
    volume = truth().read(young).volume
    both = truth().expected(young, volume, np.tile([2.0, END], (VIDEOS, 1)))
    alone = truth().expected(young, volume, np.full((VIDEOS, 1), 2.0))
    np.testing.assert_allclose(both[:, :, :1], alone, rtol=1e-3)


def test_expected_tells_a_late_riser_from_an_early_one(simulated, young):
    """The forecast of the true process, over the classes, is right on average."""
    rows, _, of = simulated
    process = truth()
    reading = process.read(young)
    found = process.expected(young, reading.volume, np.full((VIDEOS, 1), END))[:, :, 0]
    forecast = (np.exp(reading.log_class) * found).sum(1)
    later = (rows["age_days"] > SEEN) & (rows["kind"] == "view")
    of_video = rows["video_id"].str.slice(1).cast(pl.Int64).to_numpy()[later.to_numpy()]
    counts = np.bincount(of_video, minlength=VIDEOS)
    error = 4 * np.std(counts - forecast) / math.sqrt(VIDEOS)
    assert abs(np.mean(counts - forecast)) < error + 0.05 * counts.mean()
    assert forecast[of == 1].mean() > 1.2 * forecast[of == 0].mean()
