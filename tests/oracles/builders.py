"""Processes with known parameters and a direct O(N^2) reading of their definition."""

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike

from m3tr.hawkes.events import EventBatch, batch
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings


def classical(mu, alpha, decays, marks="log", kinds=None) -> MambaHawkes:
    """A process without context; `alpha` (M, K, K) in offspring per unit of weight."""
    kinds = kinds or [f"k{i}" for i in range(len(mu))]
    settings = HawkesSettings(decays=decays, context=False, marks=marks)
    model = MambaHawkes(kinds, settings)
    with torch.no_grad():
        model.log_mu.copy_(torch.tensor(mu, dtype=torch.float64).log())
        model.alpha.copy_(torch.tensor(alpha, dtype=torch.float64))
    return model.eval()


def neural(kinds=("a", "b"), seed=0, **settings) -> MambaHawkes:
    """A random Mamba-Hawkes process in float64 with splines in elapsed time."""
    torch.manual_seed(seed)
    given = {"decays": [0.05, 1.0], "layers": 1, "knots": 4} | settings
    model = MambaHawkes(list(kinds), HawkesSettings(**given)).double()
    with torch.no_grad():
        if model.settings.context:
            model.head.weight.normal_()
            model.head.bias.normal_()
            model.gain.weight.normal_(std=0.3)
            model.gain.bias.zero_()
            model.net.start.normal_()
            model.knots.copy_(2.0 * torch.linspace(0, 1, len(model.knots)) ** 2)
        model.unit.fill_(0.3)
    return model.eval()


def random_events(n=(0, 1, 7, 23), kinds=("a", "b"), end=3.0, seed=0, tied=False) -> EventBatch:
    """Sequences of the given lengths; `tied` puts events on a coarse grid of times."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, size in enumerate(n):
        age = rng.uniform(0, end, size)
        rows.append(
            pl.DataFrame(
                {
                    "sequence": [f"v{i}"] * size,
                    "time": np.ceil(age * 4) / 4 if tied else age,
                    "kind": rng.choice(list(kinds), size).astype(str),
                    "count": rng.integers(1, 50, size),
                },
                schema_overrides={"sequence": pl.String, "kind": pl.String},
            )
        )
    ids = [f"v{i}" for i in range(len(n))]
    return batch(pl.concat(rows), ids, np.full(len(n), end), kinds)


def brute_force(time, kind, weight, end, mu, alpha, beta):
    """Log intensities and compensators by the definition, O(N^2); `alpha` as in `classical`."""
    mu, alpha, beta = (np.asarray(a, dtype=float) for a in (mu, alpha, beta))
    logs = []
    for t, k in zip(time, kind, strict=True):
        rate = mu[k]
        for s, source, g in zip(time, kind, weight, strict=True):
            if s < t:
                rate += (alpha[:, k, source] * beta * g * np.exp(-beta * (t - s))).sum()
        logs.append(np.log(rate))
    compensator = mu * end
    for s, source, g in zip(time, kind, weight, strict=True):
        share = 1 - np.exp(-beta * (end - s))
        compensator = compensator + (alpha[:, :, source] * share[:, None]).sum(0) * g
    return np.array(logs), compensator


def expected_univariate(
    mu: ArrayLike, alpha: ArrayLike, beta: ArrayLike, intensity: ArrayLike, lead: ArrayLike
) -> np.ndarray:
    """`E N(t, t + lead]` of a univariate exponential Hawkes process; any shapes that broadcast.

    `alpha` is the jump of the intensity and `intensity` its right limit at `t`. With `k = beta -
    alpha` and `L = mu beta / k`: `L lead + (intensity - L) (1 - exp(-k lead)) / k`; at `alpha =
    beta`, `intensity lead + mu beta lead^2 / 2`.
    """
    mu, alpha, beta, start, lead = (
        np.asarray(a, dtype=np.float64) for a in (mu, alpha, beta, intensity, lead)
    )
    x = (beta - alpha) * lead
    near = np.abs(x) < 1e-4
    safe = np.where(near, 1.0, x)
    # (1 - e^-x) / x and (x - 1 + e^-x) / x^2, by their series where the quotients lose digits
    first = np.where(near, 1 - x / 2 + x * x / 6, -np.expm1(-safe) / safe)
    second = np.where(near, 0.5 - x / 6 + x * x / 24, (safe + np.expm1(-safe)) / safe**2)
    return np.asarray(start * lead * first + mu * beta * lead**2 * second)
