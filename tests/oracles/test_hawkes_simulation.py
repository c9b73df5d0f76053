"""The simulator against closed forms, and time rescaling on what it gives."""

import math

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.hawkes.events import batch
from m3tr.hawkes.residuals import compensator_increments, ks
from m3tr.hawkes.simulate import simulate, simulate_counts

ZERO = np.zeros(1)


def univariate(mu, n, beta):
    return ZERO, np.array([[mu]]), np.array([[[n * beta]]]), np.array([beta])


def test_variance_of_stationary_counts():
    mu, n, beta, W, burn = 1.5, 0.5, 2.0, 3.0, 12.0
    args = univariate(mu, n, beta)
    full = simulate_counts(*args, end=burn + W, seed=1, n_paths=60_000)[:, 0]
    # the same streams stopped at the burn-in: the difference is the count of the window
    early = simulate_counts(*args, end=burn, seed=1, n_paths=60_000)[:, 0]
    count = full - early
    kappa, g = 1 / (1 - n), beta * (1 - n)
    L = mu * kappa
    variance = L * (W * kappa**2 + (1 - kappa**2) * (1 - math.exp(-g * W)) / g)
    assert count.mean() == pytest.approx(L * W, rel=0.01)
    fourth = ((count - count.mean()) ** 4).mean()
    error = math.sqrt((fourth - count.var() ** 2) / len(count))
    assert abs(count.var() - variance) < 4 * error


def test_progeny_of_one_event_is_borel():
    n, beta = 0.6, 3.0
    history = (ZERO, np.zeros(1, dtype=np.int64), np.ones(1))
    args = univariate(0.0, n, beta)
    size = 1 + simulate_counts(*args, end=60.0, seed=2, n_paths=40_000, history=history)[:, 0]
    for k in range(1, 7):
        p = math.exp(-n * k) * (n * k) ** (k - 1) / math.factorial(k)
        assert abs((size == k).mean() - p) < 4 * math.sqrt(p * (1 - p) / len(size))
    assert size.mean() == pytest.approx(1 / (1 - n), rel=0.03)


def test_piecewise_constant_immigration_is_poisson():
    times, rates = np.array([0.0, 1.0, 4.0]), np.array([[2.0, 0.0], [0.0, 5.0], [10.0, 0.0]])
    counts = simulate_counts(
        times, rates, np.zeros((1, 2, 2)), np.ones(1), end=5.0, seed=3, n_paths=20_000
    )
    expected = np.array([2.0 + 10.0, 15.0])
    assert np.abs(counts.mean(0) - expected).max() < 4 * math.sqrt(15 / 20_000)
    assert np.abs(counts.var(0) / expected - 1).max() < 0.05
    t, k = simulate(times, rates, np.zeros((1, 2, 2)), np.ones(1), end=5.0, seed=4)
    assert ((t[k == 1] > 1) & (t[k == 1] <= 4)).all()
    assert ((t[k == 0] <= 1) | (t[k == 0] > 4)).all()


def test_paths_and_counts_are_functions_of_the_seed():
    args = univariate(5.0, 0.7, 1.0)
    a, b, c = (simulate(*args, end=300.0, seed=s)[0] for s in (7, 7, 8))
    assert np.array_equal(a, b) and not np.array_equal(a[:50], c[:50])
    assert (np.diff(a) > 0).all() and len(a) > 1024  # beyond the first allocation
    assert len(simulate(*args, end=300.0, seed=7, max_events=100)[0]) == 100
    few = simulate_counts(*args, end=5.0, seed=7, n_paths=10)
    more = simulate_counts(*args, end=5.0, seed=7, n_paths=20)
    assert np.array_equal(few, more[:10]) and len(np.unique(more)) > 3


def test_a_path_cut_short_is_no_count():
    with pytest.raises(InputError, match="max_events"):
        simulate_counts(*univariate(5.0, 1.5, 1.0), end=50.0, seed=0, n_paths=2, max_events=1000)


@pytest.fixture(scope="module")
def simulated():
    """One multivariate process with shared decays: parameters and 60 sequences of 4 days."""
    mu = np.array([6.0, 3.0])
    branching = np.array([[[0.3, 0.1], [0.0, 0.2]], [[0.2, 0.0], [0.3, 0.2]]])
    beta = np.array([30.0, 2.0])
    frames = []
    for i in range(60):
        jumps = branching * beta[:, None, None]
        t, k = simulate(ZERO, mu[None], jumps, beta, end=4.0, seed=100 + i)
        frames.append(
            pl.DataFrame({"sequence": [str(i)] * len(t), "time": t, "kind": k.astype(str)})
        )
    events = batch(pl.concat(frames), [str(i) for i in range(60)], np.full(60, 4.0), ["0", "1"])
    return mu, branching, beta, events


def test_time_rescaling_accepts_the_true_model_and_rejects_wrong_ones(build, simulated):
    mu, branching, beta, events = simulated
    decays = (1 / beta).tolist()
    true = compensator_increments(build.classical(mu, branching, decays), events)
    for increments in true:
        assert ks(increments).pvalue > 0.01
    # increments follow one another independently
    assert abs(np.corrcoef(true[0][1:], true[0][:-1])[0, 1]) < 4 / math.sqrt(len(true[0]))
    poisson = build.classical([events.mask.sum().item() / 480] * 2, 0 * branching, decays)
    wrong = compensator_increments(build.classical(mu, 0.5 * branching, decays), events)
    for increments in (*compensator_increments(poisson, events), *wrong):
        assert ks(increments).pvalue < 1e-6
