"""Maximum likelihood recovers the parameters of simulated data."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import chi2

from m3tr.hawkes.events import batch
from m3tr.hawkes.likelihood import fit, log_likelihood, mean_log_likelihood
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.simulate import simulate

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
            pl.DataFrame({"video_id": [str(i)] * len(t), "age_days": t, "kind": k.astype(str)})
        )
    return batch(pl.concat(frames), [str(i) for i in range(200)], ends, ["0", "1"])


def test_classical_parameters_are_recovered(build, sequences):
    model = fit(sequences, ["0", "1"], HawkesSettings(decays_days=[0.05, 0.5], context=False))
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
        frames.append(pl.DataFrame({"video_id": [str(i)] * len(t), "age_days": t}))
    frame = pl.concat(frames).with_columns(pl.lit("x").alias("kind"))
    events = batch(frame, [str(i) for i in range(120)], np.full(120, 5.0), ["x"])
    train, test = events.select(range(80)), events.select(range(80, 120))
    s = HawkesSettings(batch_size=16, epochs=20, learning_rate=1e-2)
    full = fit(train, ["x"], s)
    plain = fit(train, ["x"], s.model_copy(update={"context": False}))
    assert mean_log_likelihood(full, test) > mean_log_likelihood(plain, test) + 0.05
