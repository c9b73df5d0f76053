"""Maximum likelihood of the classical part, which is concave and separates over receivers.

With fixed decays the excitations `S` are features of the data. Written in the shares of the events
that each parameter explains, the problem is well scaled; a bounded quasi-Newton gives exact zeros.
"""

import numpy as np
import torch
from scipy.optimize import minimize

from m3tr.hawkes.events import EventBatch, ties
from m3tr.hawkes.process import MambaHawkes

# a few parameters a receiver need no more; the rest of a larger training set is left out at random
MAX_EVENTS = 200_000


def fit_classical(model: MambaHawkes, events: EventBatch, generator: torch.Generator) -> None:
    """Set `log_mu` and, with the classical part on, `alpha` to their maximum-likelihood values.

    The softplus part is taken as absent. The concavity makes the result independent of the start.
    """
    rows = torch.randperm(len(events), generator=generator)
    used = events.lengths[rows].cumsum(0)
    rows = rows[(used - events.lengths[rows]) < MAX_EVENTS]
    K, M = len(model.kinds), len(model.beta)
    time = float(events.end[rows].sum())
    features, number, weight = [], [], torch.zeros(M, K, dtype=torch.float64)
    for part in rows.split(256):
        tied = ties(events.select(part), K, model.settings.marks)
        after = model.states(tied)
        fade = torch.exp(-tied.step[:, :, None] * model.beta)[..., None]
        weight += (after * (1 - fade)).sum((0, 1))
        scored = tied.mask & (tied.time > 0)
        before = (after * fade)[:, :-1] * model.beta[:, None]  # (B, G, M, K)
        features.append(before[scored].flatten(1))
        number.append(tied.number[scored])
    X, n = torch.cat(features).numpy(), torch.cat(number).numpy()
    unit = float(model.unit)
    mu, alpha = np.zeros(K), np.zeros((M, K, K))
    for k in range(K):
        at = n[:, k] > 0
        if not model.settings.classical or not at.any():
            mu[k] = n[:, k].sum() / max(time, 1e-12)
            continue
        mu[k], flat = _receiver(X[at], n[at, k], time, weight.flatten().numpy())
        alpha[:, k] = flat.reshape(M, K)
    with torch.no_grad():
        # a rate may be fitted as zero; its logarithm must stay finite
        model.log_mu.copy_(torch.from_numpy(np.log(np.maximum(mu * unit, 1e-8))))
        if model.settings.classical:
            model.alpha.copy_(torch.from_numpy(alpha))


def _receiver(
    X: np.ndarray, n: np.ndarray, time: float, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    """`mu` and `alpha` (M K,) of one receiver.

    `X` (E, M K) are `beta S` at its events, `n` (E,) how many events fall together, `time` and
    `weight` (M K,) the compensators of unit parameters.
    """
    total = n.sum()
    integral = np.concatenate([[time], weight])
    used = integral > 0
    integral = integral[used]
    F = np.column_stack([np.ones(len(X)), X])[:, used] * (total / integral)

    def loss(share: np.ndarray) -> tuple[float, np.ndarray]:
        rate = F @ share
        gradient = 1 - F.T @ (n / rate) / total
        return float(share.sum() - n @ np.log(rate) / total), gradient

    start = np.full(len(integral), 0.5 / max(len(integral) - 1, 1))
    start[0] = 0.5
    bounds = [(1e-9, None)] + [(0.0, None)] * (len(integral) - 1)
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8}
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    theta = np.zeros(len(used))
    theta[used] = found.x * total / integral
    return float(theta[0]), theta[1:]
