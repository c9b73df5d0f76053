"""Maximum likelihood recovers the parameters of simulated data."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import chi2

from m3tr.errors import InputError
from m3tr.hawkes import classical, kernels
from m3tr.hawkes.events import batch
from m3tr.hawkes.kernels import Sequences
from m3tr.hawkes.likelihood import log_likelihood, mean_log_likelihood
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.simulate import simulate
from m3tr.hawkes.training import fit

MU = np.array([10.0, 4.0])
ALPHA = np.array([[[0.3, 0.1], [0.0, 0.2]], [[0.2, 0.0], [0.2, 0.2]]])
BETA = np.array([20.0, 2.0])


@pytest.fixture(scope="module")
def sequences():
    frames, ends = [], np.random.default_rng(0).uniform(1, 4, 200)
    for i, end in enumerate(ends):
        jumps = ALPHA * BETA[:, None, None]
        t, k = simulate(np.zeros(1), MU[None], jumps, BETA, end=end, seed=i)
        frames.append(
            pl.DataFrame({"sequence": [str(i)] * len(t), "time": t, "kind": k.astype(str)})
        )
    return batch(pl.concat(frames), [str(i) for i in range(200)], ends, ["0", "1"])


def test_classical_parameters_are_recovered(build, sequences):
    model = fit(sequences, ["0", "1"], HawkesSettings(decays=[0.05, 0.5], context=False))
    assert np.abs(model.mu.detach().numpy() / MU - 1).max() < 0.15
    assert np.abs(model.alpha.detach().numpy() - ALPHA).max() < 0.05
    assert (model.alpha >= 0).all()
    # Wilks: twice the gain over the truth is chi-squared, here with 10 degrees of freedom
    truth = build.classical(MU, ALPHA, [0.05, 0.5])
    gain = (
        log_likelihood(model, sequences).total.sum() - log_likelihood(truth, sequences).total.sum()
    )
    assert 0 < 2 * gain.item() < chi2.ppf(0.999, 10)
    # a stationary point in the interior, on the boundary where alpha is zero
    n = sequences.mask.sum()
    (slope,) = torch.autograd.grad(log_likelihood(model, sequences).total.sum() / n, model.alpha)
    assert slope[model.alpha > 0].abs().max() < 1e-3
    assert (slope[model.alpha == 0] < 1e-3).all()


def test_poisson_fit_is_the_mean_rate(sequences):
    settings = HawkesSettings(classical=False, context=False)
    model = fit(sequences, ["0", "1"], settings)
    rate = torch.bincount(sequences.kind[sequences.mask]) / sequences.end.sum()
    assert torch.allclose(model.mu, rate, rtol=1e-7)
    assert not model.alpha.any()


def test_context_gains_where_the_classical_form_is_wrong():
    """A rate that falls with the number of events so far cannot be written with alpha >= 0."""
    rng = np.random.default_rng(1)
    frames = []
    for i in range(120):
        gaps = rng.exponential(1 / np.concatenate([np.full(8, 20.0), np.full(8, 2.0)]))
        t = np.cumsum(gaps)
        t = t[t < 5]
        frames.append(pl.DataFrame({"sequence": [str(i)] * len(t), "time": t}))
    frame = pl.concat(frames).with_columns(pl.lit("x").alias("kind"))
    events = batch(frame, [str(i) for i in range(120)], np.full(120, 5.0), ["x"])
    train, test = events.select(range(80)), events.select(range(80, 120))
    s = HawkesSettings(batch_size=16, epochs=20, learning_rate=1e-2)
    full = fit(train, ["x"], s)
    plain = fit(train, ["x"], s.model_copy(update={"context": False}))
    assert mean_log_likelihood(full, test) > mean_log_likelihood(plain, test) + 0.05


KINDS = ["a", "b", "c"]
MU3 = np.array([0.3, 0.2, 0.25])
ALPHA3 = np.array([[[0.3, 0.15, 0.0], [0.1, 0.25, 0.15], [0.2, 0.0, 0.3]]])


def path(mu, alpha, beta, end, seed):
    """One simulated sequence; `alpha` in offspring."""
    jumps, beta = alpha * np.asarray(beta)[:, None, None], np.asarray(beta, dtype=float)
    t, k = simulate(np.zeros(1), mu[None], jumps, beta, end, seed, max_events=10**6)
    return Sequences.single(t, k, end)


def slopes(found, data):
    """Gradient of the log likelihood at an estimate: (mu, alpha)."""
    at = kernels.log_likelihood(data, found.mu, found.alpha, found.beta)
    return at.mu, at.alpha


def test_recovery_within_three_standard_errors_and_kkt():
    data = path(MU3, ALPHA3, [1.3], 4000.0, seed=1)
    found = classical.fit(data, KINDS, [1.3])
    assert found.converged and found.n_active == 3 + (found.alpha > 0).sum()
    assert (np.abs(found.mu - MU3) < 3 * found.mu_error).all()
    inside = found.alpha > 0
    assert (np.abs(found.alpha - ALPHA3)[inside] < 3 * found.alpha_error[inside]).all()
    assert np.isnan(found.alpha_error[~inside]).all()
    # the multiplier of an active parameter is zero, of an inactive one not positive
    d_mu, d_alpha = slopes(found, data)
    assert np.abs(d_mu * found.mu).max() < 1e-3
    assert np.abs(d_alpha[inside]).max() < 1e-2 and (d_alpha[~inside] <= 0).all()
    at = kernels.log_likelihood(data, found.mu, found.alpha, found.beta).total
    assert found.log_likelihood == pytest.approx(at, rel=1e-12)
    truth = kernels.log_likelihood(data, MU3, ALPHA3, np.array([1.3])).total
    assert 0 < 2 * (at - truth) < chi2.ppf(0.999, 12)
    assert found.bic == pytest.approx(-2 * at + found.n_active * np.log(found.n_events))


def test_standard_errors_are_calibrated():
    """Coverage of nominal 95 % intervals, pooled; its own standard error is about .005."""
    mu, alpha = np.array([0.5, 0.4]), np.array([[[0.35, 0.2], [0.25, 0.3]]])
    inside = []
    for seed in range(400):
        found = classical.fit(path(mu, alpha, [2.0], 1200.0, seed), ["a", "b"], [2.0])
        inside += list(np.abs(found.mu - mu) < 1.96 * found.mu_error)
        inside += list((np.abs(found.alpha - alpha) < 1.96 * found.alpha_error).ravel())
    assert 0.93 < np.mean(inside) < 0.97


def test_decays_are_learned_with_their_errors():
    """Two scales a factor of 40 apart; the errors are those of the joint information."""
    mu, alpha = np.array([0.4]), np.array([[[0.3]], [[0.35]]])
    beta = np.array([8.0, 0.2])
    data = path(mu, alpha, beta, 12_000.0, seed=3)
    found = classical.fit(data, ["a"], scales=2)
    assert found.converged and found.n_active == 5
    assert (np.abs(found.beta - beta) < 3 * found.beta_error).all()
    assert (np.abs(found.alpha - alpha) < 3 * found.alpha_error).all()
    assert (found.beta_error < 0.3 * beta).all()
    slope = kernels.log_likelihood(data, found.mu, found.alpha, found.beta).log_beta
    assert np.abs(slope / found.n_events).max() < 1e-6
    held = classical.fit(data, ["a"], found.beta)
    assert held.log_likelihood == pytest.approx(found.log_likelihood, abs=1e-6)
    assert (held.alpha_error < found.alpha_error).all()  # a known decay leaves less to estimate
    assert np.isnan(held.beta_error).all()


def test_errors_with_a_learned_decay_are_calibrated():
    mu, alpha, inside = np.array([0.5]), np.array([[[0.5]]]), []
    for seed in range(150):
        found = classical.fit(path(mu, alpha, [2.0], 1500.0, seed), ["a"])
        errors = (found.mu_error, found.alpha_error.ravel(), found.beta_error)
        at = (found.mu, found.alpha.ravel(), found.beta)
        truth = (mu, alpha.ravel(), 2.0)
        inside += [abs(a - b)[0] < 1.96 * e[0] for a, b, e in zip(at, truth, errors, strict=True)]
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.parametrize("unit", [24.0, 86_400.0])
def test_the_unit_of_time_does_not_matter(unit):
    data = path(MU3, ALPHA3, [1.3], 500.0, seed=2)
    other = data.scaled(1 / unit)
    for beta in (None, np.array([1.3])):
        one = classical.fit(data, KINDS, beta)
        two = classical.fit(other, KINDS, None if beta is None else beta / unit)
        assert np.allclose(one.alpha, two.alpha, rtol=1e-4, atol=1e-6)
        assert np.allclose(one.mu, two.mu * unit, rtol=1e-4)
        assert np.allclose(one.beta, two.beta * unit, rtol=1e-4)
        assert np.allclose(one.alpha_error, two.alpha_error, rtol=1e-3, equal_nan=True)
        shift = one.n_events * np.log(unit)
        assert one.log_likelihood == pytest.approx(two.log_likelihood + shift, rel=1e-9)


def test_all_events_of_many_sequences_are_used():
    paths = [path(MU3, ALPHA3, [1.3], 5.0, seed=i) for i in range(3000)]
    time, kind, weight = (
        np.concatenate([getattr(p, name) for p in paths]) for name in ("time", "kind", "weight")
    )
    offsets = np.concatenate([[0], np.cumsum([len(p.time) for p in paths])])
    data = Sequences(time, kind, weight, offsets, np.full(3000, 5.0))
    found = classical.fit(data, KINDS, [1.3])
    assert found.n_events == len(time)
    assert (np.abs(found.mu - MU3) < 4 * found.mu_error).all()


@pytest.mark.parametrize("beta", [None, [2.0, 0.1]])
@pytest.mark.parametrize(
    ("time", "kind"),
    [([], []), ([0.0], [0]), ([0.5], [1]), ([0.5, 0.5], [0, 0]), ([0.0, 2.0, 3.0], [0, 2, 2])],
)
def test_hardly_any_events(time, kind, beta):
    data = Sequences.single(np.array(time), np.array(kind, dtype=int), 3.0)
    found = classical.fit(data, KINDS, beta)
    scored = np.array(time) > 0
    assert found.n_events == scored.sum()
    assert np.isfinite(found.log_likelihood) and np.isfinite(found.bic)
    assert (found.mu >= 0).all() and (found.alpha >= 0).all()
    number = np.bincount(np.array(kind, dtype=int)[scored], minlength=3)
    assert (found.mu[number == 0] == 0).all() and not found.alpha[:, number == 0].any()
    if not scored.any():
        assert found.n_active == 0 and np.isnan(found.mu_error).all()


def test_a_kind_never_seen_changes_nothing():
    data = path(MU3[:2], ALPHA3[:, :2, :2], [1.3], 500.0, seed=5)
    two, three = classical.fit(data, KINDS[:2], [1.3]), classical.fit(data, KINDS, [1.3])
    assert np.allclose(three.alpha[:, :2, :2], two.alpha, atol=1e-6)
    assert three.mu[2] == 0 and not three.alpha[:, 2].any() and not three.alpha[:, :, 2].any()
    assert three.log_likelihood == pytest.approx(two.log_likelihood, rel=1e-10)


def test_equal_decays_are_no_obstacle():
    """Two scales that cannot be told apart: the fit is that of one."""
    data = path(MU3, ALPHA3, [1.3], 300.0, seed=6)
    one, two = classical.fit(data, KINDS, [1.3]), classical.fit(data, KINDS, [1.3, 1.3])
    assert np.allclose(two.branching(), one.branching(), atol=1e-4)
    assert two.converged


def test_mistakes_are_one_sentence():
    data = path(MU3, ALPHA3, [1.3], 20.0, seed=0)
    for beta in ([], [0.0], [-1.0], [np.inf]):
        with pytest.raises(InputError, match="positive decay rates"):
            classical.fit(data, KINDS, beta)
    with pytest.raises(InputError, match="of 2 kinds"):
        classical.fit(data, KINDS[:2], [1.0])
    with pytest.raises(InputError, match="distinct"):
        classical.fit(data, ["a", "a", "b"], [1.0])
    with pytest.raises(InputError, match="support"):
        classical.fit(data, KINDS, [1.0], support=np.ones((3, 3), dtype=bool))
    with pytest.raises(InputError, match="at least one decay"):
        classical.fit(data, KINDS, scales=0)


def hostile(rng):
    """Ties, history, bursts at the start, windows from seconds to years, heavy-tailed weights."""
    K, B, n = rng.integers(1, 5), rng.integers(1, 30), rng.integers(1, 300)
    end = rng.uniform(0.01, 50, B) if rng.random() < 0.8 else np.full(B, rng.choice([1e-9, 1e9]))
    row = np.sort(rng.integers(0, B, n))
    time = rng.random(n) ** rng.choice([0.5, 1, 6, 40]) * end[row]
    if rng.random() < 0.4:
        time = np.minimum(np.ceil(time / end[row] * 5) / 5 * end[row], end[row])
    time[rng.random(n) < rng.choice([0.0, 0.3])] = 0
    time = time[np.lexsort((time, row))]
    kind = rng.choice(K, n, p=rng.dirichlet(np.full(K, 0.5)))
    weight = np.exp(rng.normal(0, rng.choice([0.0, 4.0]), n))
    offsets = np.searchsorted(row, np.arange(B + 1))
    return Sequences(time, kind, weight, offsets, end), [str(k) for k in range(K)]


@pytest.mark.parametrize("seed", range(60))
def test_hostile_data_end_at_an_optimum(seed):
    data, kinds = hostile(np.random.default_rng(seed))
    found = classical.fit(data, kinds, 1 / np.array([0.005, 0.05, 0.5, 5.0, 50.0]))
    assert found.converged and np.isfinite(found.log_likelihood)
    if found.n_events:
        d_mu, d_alpha = (d / found.n_events for d in slopes(found, data))
        assert np.abs(d_mu * found.mu).max() < 1e-4 and np.abs(d_alpha * found.alpha).max() < 1e-4
        seen = np.bincount(data.kind[data.time > 0], minlength=len(kinds)) > 0
        assert (d_alpha / found.mean_weight)[:, seen].max() < 1e-4


def test_the_order_of_sequences_does_not_matter_to_learned_decays():
    rng = np.random.default_rng(5)
    frames = [
        pl.DataFrame({"sequence": str(i), "time": np.sort(rng.uniform(0, 3, rng.integers(0, 6)))})
        for i in range(60)
    ]
    frame = pl.concat(frames).with_columns(kind=pl.lit("x"))
    found = []
    for order in (np.arange(60), rng.permutation(60)):
        events = batch(frame, [str(i) for i in order], np.full(60, 3.0), ["x"])
        found.append(classical.fit(Sequences.of(events, "log"), ["x"], scales=2))
    assert found[0].log_likelihood == pytest.approx(found[1].log_likelihood, abs=1e-6)
    assert all((fitted.beta >= 1 / 3 - 1e-9).all() for fitted in found)  # no longer than a window
