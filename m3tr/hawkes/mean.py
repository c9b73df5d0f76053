"""The mean of the process after its history.

The means of the classical part obey a linear differential equation, solved by a matrix exponential:
exact, at and above criticality too. A context that reads future events has no closed mean: along
the mean path the gate stays what it is, and the softplus part is a known exogenous input that goes
on along its spline as if no event came, a plug-in (docs/hawkes.md).
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from m3tr.hawkes.process import HistoryPath, MambaHawkes
from m3tr.hawkes.spline import spline_softplus

# a supercritical mean grows without bound
CEILING = 1e12
# steps up to the longest lead, over each of which the softplus part enters by its mean
INPUTS = 8
# largest growth of the logarithm of a mean in one matrix exponential, which overflows at 709
_MAX_GROWTH = 200.0


def mean_path(model: MambaHawkes, path: HistoryPath, leads: ArrayLike) -> Tensor:
    """Expected number of events of each kind in `(end, end + lead]`.

    Parameters
    ----------
    model : MambaHawkes
    path : HistoryPath
        What the process computed on the history.
    leads : (Q,) or (B, Q) array
        Time after the end of each window; negative leads count as 0.

    Returns
    -------
    (B, Q, K) float64 tensor
        At most 1e12.
    """
    B, K = path.right.shape
    M = len(model.beta)
    leads = torch.as_tensor(np.asarray(leads, dtype=np.float64)).clamp(min=0)
    leads = leads.expand(B, leads.shape[-1])
    if B == 0 or leads.numel() == 0 or float(leads.max()) == 0:
        return torch.zeros(B, leads.shape[1], K, dtype=torch.float64)
    nodes, at = _nodes(leads, model.settings.context)
    steps = torch.nn.functional.pad(nodes, (1, 0)).diff(dim=1)  # (B, n)
    moves = _moves(_generator(model, path), steps)  # (B, n, d, d)
    inputs = _inputs(model, path, nodes) / steps.clamp(min=1e-300)[:, :, None]
    v = torch.zeros(B, M * K + 2 * K + 1, dtype=torch.float64)
    v[:, : M * K] = path.state.reshape(B, M * K)
    v[:, -1] = 1
    number = []
    for i in range(nodes.shape[1]):
        v = torch.cat([v[:, : M * K + K], inputs[:, i], v[:, -1:]], 1)
        v = (moves[:, i] @ v[:, :, None])[:, :, 0].clamp(0, CEILING)
        number.append(v[:, M * K : M * K + K])
    return torch.stack(number, 1)[torch.arange(B)[:, None], at]


def _nodes(leads: Tensor, with_input: bool) -> tuple[Tensor, Tensor]:
    """Ascending times after the end of each window, (B, n), and where the leads (B, Q) are."""
    if with_input:
        share = torch.from_numpy(np.geomspace(1e-3, 1.0, INPUTS))
        leads = torch.cat([leads, leads.max(1, keepdim=True).values * share[:-1]], 1)
    nodes, order = leads.sort(dim=1)
    Q = leads.shape[1] - (INPUTS - 1 if with_input else 0)
    return nodes, order.argsort(dim=1)[:, :Q]


def _generator(model: MambaHawkes, path: HistoryPath) -> Tensor:
    """`G` of `v' = G v`, `v = (S_mk, N_k, input_k, 1)` of side `d = M K + 2 K + 1`.

    (B, d, d), or (1, d, d) where no gate makes sequences differ.
    """
    K, n = len(model.kinds), len(model.beta) * len(model.kinds)
    gate = path.gate if model.settings.context else path.gate[:1]
    jump = (model.alpha * model.beta[:, None, None]).permute(1, 0, 2).reshape(K, n)
    rate = torch.cat([jump, torch.zeros(K, 2 * K, dtype=jump.dtype), model.mu[:, None]], 1)
    rate = rate * gate[:, :, None]  # (B, K, d): N' = the intensity
    enter = torch.zeros_like(rate)
    enter[:, :, n + K : -1] = torch.eye(K, dtype=jump.dtype)
    rate = rate + enter
    # S_mk' = -beta_m S_mk + E[g_k] N_k'
    excited = (rate * model.mean_weight[:, None]).repeat(1, len(model.beta), 1)
    decay = torch.zeros(n, rate.shape[2], dtype=jump.dtype)
    decay[:, :n] = torch.diag(model.beta.repeat_interleave(K))
    still = torch.zeros(len(gate), K + 1, rate.shape[2], dtype=jump.dtype)
    return torch.cat([excited - decay, rate, still], 1)


def _moves(G: Tensor, steps: Tensor) -> Tensor:
    """`exp(G h)` for every step `h` (B, n), (B, n, d, d); one for all that share `G` and `h`."""
    if len(G) == 1:
        own, where = torch.unique(steps, return_inverse=True)
        return _exponentials(own[:, None, None] * G)[where]
    B, n = steps.shape
    return _exponentials((steps[:, :, None, None] * G[:, None]).flatten(0, 1)).unflatten(0, (B, n))


def _exponentials(X: Tensor) -> Tensor:
    """Matrix exponentials, finite however supercritical the process is.

    Off its diagonal `X` is non-negative, hence so are its exponentials, and they can be squared
    below a ceiling without a difference of infinities: kinds that do not explode stay exact. No
    eigenvalue exceeds the largest sum of a row.
    """
    growth = float(X.detach().sum(2).max()) / _MAX_GROWTH
    squarings = max(int(np.ceil(np.log2(max(growth, 1.0)))), 0)
    moves = torch.linalg.matrix_exp(X / 2**squarings)
    for _ in range(squarings):
        moves = (moves @ moves).clamp(max=1e100)
    return moves


def _inputs(model: MambaHawkes, path: HistoryPath, nodes: Tensor) -> Tensor:
    """Integral of the softplus part from each node to the next, the first from 0, (B, n, K)."""
    B, K = path.right.shape
    n = nodes.shape[1]
    if not model.settings.context:
        return torch.zeros(B, n, K, dtype=torch.float64)
    waited = path.tied.step[torch.arange(B), path.tied.mask.sum(1)]  # (B,) since the last event
    at = waited[:, None] + torch.nn.functional.pad(nodes, (1, 0))
    _, whole = spline_softplus(path.z.repeat_interleave(n + 1, 0), model.knots, at.flatten())
    return model.scale * whole.view(B, n + 1, K).diff(dim=1).clamp(min=0)
