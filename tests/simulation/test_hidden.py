"""The likelihood of the hidden values against direct sums and numerical integration."""

import numpy as np
import pytest
from scipy.integrate import quad

from m3tr.simulation.bayes import Shapes, Stratum, posterior
from m3tr.simulation.hidden import log_likelihoods
from m3tr.simulation.process import BETA, BRANCHING, CELL_DAYS, CLASSES, SHAPES
from m3tr.simulation.replay import Case

NODES = 7


def _rule() -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    return x, np.log(w / np.sqrt(2 * np.pi)) + x**2 / 2


def _events(n: int, end: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, end, n)), rng.choice(4, n, p=[0.8, 0.1, 0.05, 0.05])


def _excited(times: np.ndarray, kinds: np.ndarray, i: int) -> float:
    """Intensity of event `i`'s kind that earlier events cause, written out."""
    return sum(
        BRANCHING[m, kinds[i], kinds[j]] * BETA[m] * np.exp(-BETA[m] * (times[i] - times[j]))
        for m in range(2)
        for j in range(i)
    )


@pytest.mark.parametrize("excited", [0.0, 30.0])
@pytest.mark.parametrize("n", [0, 3, 40, 400])
@pytest.mark.parametrize("sd", [0.3, 0.75])
def test_volume_posterior_agrees_with_numerical_integration(
    n: int, excited: float, sd: float
) -> None:
    # one shape, 100 immigrants expected; without excitation n of them came: Poisson-lognormal
    own, e = np.full(n, 60.0), np.full(n, excited)
    density, mass, m = np.ones((1, 1)), np.array([0.8]), np.log(100.0)
    cell = np.zeros(n, dtype=np.int64)
    log_volume, weight = log_likelihoods(density, cell, own, e, mass, m, sd, *_rule())

    def log_joint(z: float) -> float:
        v = np.exp(m + sd * z)
        return n * np.log(v * 60.0 + excited) - v * 0.8 - z * z / 2 - np.log(2 * np.pi) / 2

    grid = np.linspace(-12, 12, 4801)
    top = max(log_joint(z) for z in grid)
    mode = grid[np.argmax([log_joint(z) for z in grid])]
    limits = (mode - 8, mode + 8)

    def integral(power: int) -> float:
        def f(z: float) -> float:
            return np.exp(log_joint(z) - top) * (m + sd * z) ** power

        return float(quad(f, *limits, points=[mode], limit=400)[0])

    evidence = integral(0)
    w = np.exp(weight[0] - top)
    assert w.sum() == pytest.approx(evidence, rel=2e-3)
    mean = integral(1) / evidence
    sd_exact = np.sqrt(integral(2) / evidence - mean**2)
    found = (w * log_volume[0]).sum() / w.sum()
    assert found == pytest.approx(mean, abs=0.01 * sd_exact)
    spread = np.sqrt((w * (log_volume[0] - found) ** 2).sum() / w.sum())
    assert spread == pytest.approx(sd_exact, rel=0.02)


def test_an_exact_volume_leaves_the_likelihood_alone() -> None:
    times, kinds = _events(25, 1.0, 3)
    excited = np.array([_excited(times, kinds, i) for i in range(25)])
    cell = np.floor(times * 24).astype(np.int64)
    density = np.random.default_rng(1).uniform(0.2, 2.0, (3, 24))
    mass = density.mean(axis=1)
    log_volume, weight = log_likelihoods(
        density, cell, np.ones(25), excited, mass, np.log(50.0), 0.0, *_rule()
    )
    direct = np.log(50.0 * density[:, cell] + excited).sum(axis=1) - 50.0 * mass
    np.testing.assert_allclose(np.logaddexp.reduce(weight, axis=1), direct, rtol=1e-12)
    np.testing.assert_allclose(log_volume, np.log(50.0))


def test_odds_of_two_classes_are_those_of_their_likelihoods() -> None:
    age, hour, volume = 0.7, 9.5, 60.0
    times, kinds = _events(42, age, 5)
    prior = [
        Stratum(0.3, "early surge", np.log(volume), 0.0),
        Stratum(0.7, "steady", np.log(volume), 0.0),
    ]
    shapes = Shapes(2.0, seed=1)
    case = Case({"publication_hour": hour}, times, kinds, age, [2.0])
    found = posterior(case, prior, shapes, draws=4)

    evidence = []
    for stratum, weights in zip(prior, found.weights, strict=True):
        mix = np.array(SHAPES[stratum.trajectory_class].mix)
        total = 0.0
        for shape in shapes.of(stratum.trajectory_class, len(weights)):
            # hour by hour: how many immigrants up to the age, and the intensity at each event
            mass, loglik = 0.0, 0.0
            rate = np.empty(len(shape))
            for c in range(len(shape)):
                middle = hour + 24 * (c + 0.5) * CELL_DAYS
                clock = 1 + 0.4 * np.cos(2 * np.pi * (middle - 20) / 24)
                rate[c] = volume * shape[c] * clock
                mass += rate[c] * min(max(age - c / 24, 0.0), 1 / 24)
            for i, (t, k) in enumerate(zip(times, kinds, strict=True)):
                loglik += np.log(rate[int(t * 24)] * mix[k] + _excited(times, kinds, i))
            total += np.exp(loglik - mass)
        evidence.append(stratum.probability * total / len(weights))
    expected = np.array(evidence) / sum(evidence)
    np.testing.assert_allclose(found.probabilities(), expected, rtol=1e-8)
    by_class = dict(zip(CLASSES, found.class_probabilities(), strict=True))
    assert by_class["steady"] == pytest.approx(expected[1]) and by_class["sparse"] == 0
    assert (expected > 1e-3).all()
