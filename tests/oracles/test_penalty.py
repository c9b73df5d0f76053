"""Penalties against brute force; penalised fits: optimality, support, tuning, invariance."""

import numpy as np
import pytest

from m3tr.errors import InputError
from m3tr.hawkes import kernels, penalty
from m3tr.hawkes.classical import fit
from m3tr.hawkes.kernels import Sequences
from m3tr.hawkes.penalty import derivative, fit_penalised, prox, tune, value
from m3tr.hawkes.simulate import simulate

NAMES = ["lasso", "scad", "mcp"]
BETA = [1.5]
D = 5
KINDS = [f"k{i}" for i in range(D)]
# each kind excites itself and the next: 10 of 25
NETWORK = (0.3 * np.eye(D) + 0.23 * np.roll(np.eye(D), 1, axis=0))[None]


def path(alpha, end, seed, mu=0.2):
    """One sequence of the network; `alpha` in offspring."""
    rates = np.full((1, alpha.shape[1]), mu)
    t, k = simulate(np.zeros(1), rates, alpha * BETA[0], np.array(BETA), end, seed)
    return Sequences.single(t, k, end)


@pytest.fixture(scope="module")
def network():
    return path(NETWORK, 5000.0, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_the_slope_of_the_value(name):
    theta, lam, h = np.linspace(0.011, 3.0, 500), 0.4, 1e-6
    slope = (value(name, theta + h, lam) - value(name, theta - h, lam)) / (2 * h)
    assert np.allclose(derivative(name, theta, lam), slope, atol=2e-6)
    assert derivative(name, np.zeros(1), lam) == lam
    assert (value(name, -theta, lam) == value(name, theta, lam)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [0.3, 1.0, 2.1])
def test_prox_is_the_minimiser(name, step):
    grid = np.linspace(-4, 4, 80_001)
    lam = 0.6
    z = np.linspace(-3.5, 3.5, 141)
    cost = value(name, grid, lam) * step
    best = [grid[np.argmin((grid - at) ** 2 / 2 + cost)] for at in z]
    assert np.abs(prox(name, z, lam, step) - best).max() < 2e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_first_order_conditions_hold(network, name):
    """Where local linear approximation ends is a stationary point of the penalised problem."""
    strength = 0.03
    found = fit_penalised(network, KINDS, BETA, penalty=name, strength=strength, rounds=30)
    at = kernels.log_likelihood(network, found.mu, found.alpha, found.beta)
    slope = at.alpha / found.n_events - derivative(name, found.alpha, strength)
    inside = found.alpha > 0
    assert 0 < inside.sum() < inside.size and found.converged
    assert np.abs(slope[inside]).max() < 1e-6
    assert (slope[~inside] <= 1e-9).all()
    assert np.abs(at.mu / found.n_events).max() < 1e-6


def test_no_penalty_is_maximum_likelihood(network):
    plain = fit(network, KINDS, BETA)
    for name in NAMES:
        found = fit_penalised(network, KINDS, BETA, penalty=name, strength=0.0)
        assert np.allclose(found.alpha, plain.alpha, atol=1e-6)


def test_penalties_find_the_support_and_concave_ones_do_not_shrink(network):
    truth = NETWORK > 0
    oracle = fit(network, KINDS, BETA, support=truth)
    plain = fit(network, KINDS, BETA)
    assert 0.2 < (plain.alpha[~truth] > 0).mean() < 0.8  # true zeros lie on the boundary
    for name in ("scad", "mcp"):
        found = fit_penalised(network, KINDS, BETA, penalty=name, strength=0.03)
        assert ((found.alpha > 0) == truth).all()
        assert np.allclose(found.alpha, oracle.alpha, atol=1e-5)  # as if the zeros were known
        assert np.allclose(found.alpha_error, oracle.alpha_error, rtol=1e-3, equal_nan=True)
    lasso = fit_penalised(network, KINDS, BETA, penalty="lasso", strength=0.03)
    assert ((lasso.alpha > 0) == truth).all()
    assert lasso.alpha[truth].mean() < 0.8 * oracle.alpha[truth].mean()


@pytest.mark.parametrize("name", ["scad", "mcp"])
def test_bic_chooses_a_sensible_lambda(network, name):
    tuned = tune(network, KINDS, BETA, penalty=name)
    assert not tuned.fits[0].alpha.any() and tuned.fits[-1].n_active > 20
    assert ((tuned.best.alpha > 0) == (NETWORK > 0)).all()
    assert 0.001 < tuned.best.strength < tuned.strengths[0] / 3
    assert tuned.best.bic == tuned.scores.min() == min(found.bic for found in tuned.fits)


def test_held_out_sequences_choose_a_sensible_lambda(network):
    held_out = path(NETWORK, 2500.0, seed=1)
    tuned = tune(network, KINDS, BETA, penalty="mcp", held_out=held_out)
    best = tuned.best
    at = kernels.log_likelihood(held_out, best.mu, best.alpha, best.beta).total
    assert tuned.scores.min() == pytest.approx(-at / len(held_out.time))
    plain = fit(network, KINDS, BETA)
    unpenalised = kernels.log_likelihood(held_out, plain.mu, plain.alpha, plain.beta).total
    assert at > unpenalised
    assert (best.alpha > 0)[NETWORK > 0].all() and best.n_active < plain.n_active


@pytest.mark.parametrize("beta", [None, BETA])
def test_units_of_time_and_of_weights_do_not_matter(beta):
    data = path(NETWORK[:, :2, :2], 1500.0, seed=2)
    weight = 1.0 + np.arange(len(data.time)) % 3
    marked = Sequences(data.time, data.kind, weight, data.offsets, data.end)
    seconds = Sequences(data.time * 86_400, data.kind, 7 * weight, data.offsets, data.end * 86_400)
    for name in NAMES:
        one = fit_penalised(marked, KINDS[:2], beta, penalty=name, strength=0.02)
        slow = None if beta is None else np.array(beta) / 86_400
        two = fit_penalised(seconds, KINDS[:2], slow, penalty=name, strength=0.02)
        assert ((one.alpha > 0) == (two.alpha > 0)).all()
        assert np.allclose(one.branching(), two.branching(), rtol=1e-3, atol=1e-6)
        assert np.allclose(one.alpha, 7 * two.alpha, rtol=1e-3, atol=1e-6)


def test_a_decay_without_alpha_stays_where_it_was():
    """Under a penalty that removes everything the decay is not identified."""
    data = path(NETWORK[:, :2, :2], 400.0, seed=3)
    found = fit_penalised(data, KINDS[:2], penalty="scad", strength=10.0)
    assert not found.alpha.any() and found.n_active == 2
    assert found.beta == pytest.approx(fit(data, KINDS[:2]).beta)
    assert np.isnan(found.beta_error).all()


@pytest.mark.parametrize("time", [[], [0.5]])
def test_hardly_any_events(time):
    data = Sequences.single(np.array(time), np.zeros(len(time), dtype=int), 1.0)
    tuned = tune(data, KINDS, BETA)
    assert not tuned.best.alpha.any() and tuned.best.n_events == len(time)


def test_mistakes_are_one_sentence(network):
    with pytest.raises(InputError, match="'ridge' is not one of"):
        fit_penalised(network, KINDS, BETA, penalty="ridge")
    for strength in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="strength"):
            fit_penalised(network, KINDS, BETA, strength=strength)
    with pytest.raises(InputError, match="below 3"):
        prox("mcp", np.ones(1), 0.1, step=penalty.MCP_GAMMA)
    with pytest.raises(InputError, match="at least one lambda"):
        tune(network, KINDS, BETA, strengths=[])
    empty = Sequences.single(np.empty(0), np.empty(0, dtype=int), 1.0)
    with pytest.raises(InputError, match="held-out"):
        tune(network, KINDS, BETA, held_out=empty)
    with pytest.raises(InputError, match="round"):
        fit_penalised(network, KINDS, BETA, rounds=0)
