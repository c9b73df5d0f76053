"""Expected counts after the observation age, and their quantiles by simulation.

The means of the classical part obey a linear differential equation, solved by a matrix exponential:
exact, at and above criticality too. The softplus part is a known exogenous input along the mean
path: a plug-in, because a context that reads future events has no closed mean (docs/hawkes.md).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from m3tr.hawkes.events import EventBatch, buckets
from m3tr.hawkes.process import HistoryPath, MambaHawkes
from m3tr.hawkes.spline import spline_softplus
from m3tr.hawkes.thinning import simulate_paths

# a supercritical mean grows without bound
CEILING = 1e12
# more distinct leads than this are interpolated between the nodes of a common grid
MAX_NODES = 64
_GRID, _INPUT_GRID = 128, 24
# largest growth of the logarithm of a mean in one matrix exponential, which overflows at 709
_MAX_GROWTH = 200.0


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


def expected_events(model: MambaHawkes, events: EventBatch, leads: ArrayLike) -> Tensor:
    """Expected number of events of each kind in `(end, end + lead]`.

    Future events have the mean weight of their kind at the fit.

    Parameters
    ----------
    model : MambaHawkes
    events : EventBatch
    leads : (Q,) or (B, Q) array
        Time after the end of each window; negative leads count as 0.

    Returns
    -------
    (B, Q, K) float64 tensor
        At most 1e12 (a supercritical process). Exact without the softplus part; see docs/hawkes.md.
    """
    return mean_path(model, model(events), leads)


def expected_counts(model: MambaHawkes, events: EventBatch, leads: ArrayLike) -> Tensor:
    """Expected count of each kind: `expected_events` times the mean count of an event.

    It is the mean of the sequence's own events of that kind and, where it has none, the typical
    count of the training sequences. In an event log both are 1; in a counter series, where an
    interval's increase is one marked event, this is a plug-in. Shapes as `expected_events`.
    """
    path = model(events)
    return with_counts(model, path, mean_path(model, path, leads))


def forecast_rows(
    model: MambaHawkes,
    events: EventBatch,
    leads: np.ndarray,
    quantiles: Sequence[float],
    paths: int,
    seed: int,
    counts: bool,
    marks: list[np.ndarray],
    max_events: int,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Means and quantiles of the events (or their counts) of each kind in `(end, end + lead]`.

    Returns
    -------
    mean : (B, Q, K) array
    levels : (len(quantiles), B, Q, K) array
        Of the simulated paths: the smallest number that a share of them does not exceed.
    method : {"exact", "simulated", "plug-in"}
        What the mean is.
    """
    B, Q, K = len(events), len(leads), len(model.kinds)
    exact = not model.settings.context and all((c == 1).all() for c in marks)
    mean, levels = np.zeros((B, Q, K)), np.zeros((len(quantiles), B, Q, K))
    if len(quantiles):
        order = np.argsort(leads, kind="stable")
        end = events.end.numpy()
        blocks = simulate_paths(
            model, events, end + leads.max(), paths, seed, marks, max_events=max_events
        )
        for rows, found in blocks:
            within = np.searchsorted(leads[order], found.time - end[found.row])  # its first lead
            cell = (found.row - rows[0]) * paths + found.path
            # rounding of end + lead - end must not carry an event beyond the last lead
            cell = (cell * Q + np.minimum(within, Q - 1)) * K + found.kind
            size = len(rows) * paths * Q * K
            weights = found.count if counts else None
            number = np.bincount(cell, weights, minlength=size).reshape(len(rows), paths, Q, K)
            number = number.cumsum(2)
            mean[rows[:, None], order] = number.mean(1)
            at = np.quantile(number, quantiles, axis=1, method="inverted_cdf")
            levels[:, rows[:, None], order] = at
    if exact or not len(quantiles):
        closed = expected_counts if counts else expected_events
        with torch.no_grad():
            for part in buckets(events.lengths, 256):
                mean[part.numpy()] = closed(model, events.select(part), leads).numpy()
    return mean, levels, "exact" if exact else "simulated" if len(quantiles) else "plug-in"


def with_counts(model: MambaHawkes, path: HistoryPath, number: Tensor) -> Tensor:
    n, total = path.tied.number.sum(1), path.tied.total.sum(1)
    mean = torch.where(n > 0, total / n.clamp(min=1), model.mean_count)
    return (number * mean[:, None, :]).clamp(max=CEILING)


def mean_path(model: MambaHawkes, path: HistoryPath, leads: ArrayLike) -> Tensor:
    """`expected_events` from what the process computed on the history already."""
    B, K = path.right.shape
    leads = torch.as_tensor(np.asarray(leads, dtype=np.float64)).clamp(min=0)
    leads = leads.expand(B, leads.shape[-1])
    if B == 0 or leads.numel() == 0 or float(leads.max()) == 0:
        return torch.zeros(B, leads.shape[1], K, dtype=torch.float64)
    M = len(model.beta)
    G = _generator(model)
    nodes = _nodes(leads, model.settings.context)
    moves = _exponentials(G, nodes.diff())  # one a stretch between nodes, shared by all sequences
    total, now = _softplus_input(model, path, nodes)
    v = torch.zeros(B, M * K + 2 * K + 1, dtype=torch.float64)
    v[:, : M * K] = path.state.reshape(B, M * K)
    v[:, -1] = 1
    jump = (model.alpha * model.beta[:, None, None]).permute(0, 2, 1).reshape(M * K, K)
    number, rate = [], []
    for i in range(len(nodes)):
        if i > 0:
            mean_input = total[:, i - 1] / (nodes[i] - nodes[i - 1])
            v = torch.cat([v[:, : M * K + K], mean_input, v[:, -1:]], 1)
            v = (v @ moves[i - 1].T).clamp(0, CEILING)
        number.append(v[:, M * K : M * K + K])
        rate.append(model.mu + v[:, : M * K] @ jump + now[:, i])
    return _hermite(nodes, torch.stack(number, 1), torch.stack(rate, 1), leads)


def _generator(model: MambaHawkes) -> Tensor:
    """`G` of `v' = G v`, `v = (S_mk, N_k, input_k, 1)`, a square matrix of side `M K + 2 K + 1`."""
    M, K = len(model.beta), len(model.kinds)
    n = M * K
    G = torch.zeros(n + 2 * K + 1, n + 2 * K + 1, dtype=torch.float64)
    jump = (model.alpha * model.beta[:, None, None]).permute(1, 0, 2).reshape(K, n)
    # N' = the intensity
    G[n : n + K, :n] = jump
    G[n : n + K, n + K : -1] = torch.eye(K, dtype=torch.float64)
    G[n : n + K, -1] = model.mu
    # S_mk' = -beta_m S_mk + E[g_k] N_k'
    G[:n] = (G[n : n + K] * model.mean_weight[:, None]).repeat(M, 1)
    decay = model.beta.repeat_interleave(K)
    G[:n, :n] = G[:n, :n] - torch.diag(decay)
    return G


def _exponentials(G: Tensor, steps: Tensor) -> Tensor:
    """`exp(G h)` for every step `h`, finite however supercritical the process is.

    Off its diagonal `G` is non-negative, hence so are its exponentials, and they can be squared
    below a ceiling without a difference of infinities: kinds that do not explode stay exact.
    """
    with torch.no_grad():
        growth = float(torch.linalg.eigvals(G).real.max() * steps.max()) / _MAX_GROWTH
    squarings = max(int(np.ceil(np.log2(max(growth, 1.0)))), 0)
    moves = torch.linalg.matrix_exp(steps[:, None, None] / 2**squarings * G)
    for _ in range(squarings):
        moves = (moves @ moves).clamp(max=1e100)
    return moves


def _nodes(leads: Tensor, with_input: bool) -> Tensor:
    """Times at which the mean path is computed, ascending from 0."""
    longest = float(leads.max())
    wanted = torch.unique(leads[leads > 0])
    if len(wanted) > MAX_NODES:
        wanted = torch.from_numpy(np.geomspace(longest * 1e-4, longest, _GRID))
    if with_input:  # taken as constant between nodes
        finer = torch.from_numpy(np.geomspace(longest * 1e-3, longest, _INPUT_GRID))
        wanted = torch.unique(torch.cat([wanted, finer]))
    return torch.cat([torch.zeros(1, dtype=torch.float64), wanted])


def _softplus_input(model: MambaHawkes, path: HistoryPath, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Integral of the softplus part between nodes (B, n - 1, K) and its value there (B, n, K).

    Its argument goes on along its spline as if no event came.
    """
    B, K = path.right.shape
    n = len(nodes)
    if not model.settings.context:
        zero = torch.zeros(B, n, K, dtype=torch.float64)
        return zero[:, 1:], zero
    waited = path.tied.step[torch.arange(B), path.tied.mask.sum(1)]  # (B,) since the last event
    at = (waited[:, None] + nodes).flatten()
    now, whole = spline_softplus(path.z.repeat_interleave(n, 0), model.knots, at)
    whole = model.scale * whole.view(B, n, K)
    return whole.diff(dim=1).clamp(min=0), model.scale * now.view(B, n, K)


def _hermite(nodes: Tensor, value: Tensor, slope: Tensor, leads: Tensor) -> Tensor:
    """Cubic Hermite interpolation of (B, n, K) values at (B, Q) leads; exact at the nodes."""
    right = torch.searchsorted(nodes, leads.contiguous()).clamp(1, len(nodes) - 1)
    rows = torch.arange(len(leads))[:, None]
    h = (nodes[right] - nodes[right - 1])[:, :, None]
    u = (leads[:, :, None] - nodes[right - 1][:, :, None]) / h
    left_value, right_value = value[rows, right - 1], value[rows, right]
    left_slope, right_slope = slope[rows, right - 1], slope[rows, right]
    return (
        (1 + 2 * u) * (1 - u) ** 2 * left_value
        + u**2 * (3 - 2 * u) * right_value
        + h * u * (1 - u) * ((1 - u) * left_slope - u * right_slope)
    ).clamp(0, CEILING)
