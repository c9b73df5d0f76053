"""The Mamba-Hawkes process; with its parts switched off, the classical Hawkes and the Poisson.

    lambda_k(t) = mu_k + sum_{m,k'} alpha[m,k,k'] beta_m S[m,k'](t)
                       + s_k softplus(z_ik + a_k (t - t_i))

`S[m,k'](t)` sums `g(count) exp(-beta_m (t - t_j))` over the events of kind `k'` before `t`; `t_i`
is the last event time before `t` (0 before the first) and `z_i` a linear map of the context there.
The softplus part is `softplus_s(w . c_i + a (t - t_i))` of docs/model.md section 3 with `w` and `a`
in units of `s`. Every part is non-negative and every integral closed-form.

All intensities are left limits: nothing at time `t` is seen by `lambda(t)`, ties included.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import softplus

from m3tr.errors import InputError
from m3tr.hawkes.context import Context
from m3tr.hawkes.events import EventBatch, Ties, ties
from m3tr.hawkes.scan import impulse_states
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.softplus import softplus_integral


@dataclass(frozen=True)
class HistoryPath:
    """What the process computes on a batch; rates per day, float64."""

    tied: Ties
    left: Tensor  # (B, G, K) intensity just before each distinct time
    compensator: Tensor  # (B, G + 1, K) its integral over each stretch of `tied.step`
    right: Tensor  # (B, K) intensity just after the end of the window
    state: Tensor  # (B, M, K) S right after the end of the window
    context: Tensor  # (B, width) context vector at the end; width 0 without the context part
    z: Tensor  # (B, K) argument of the softplus right after the last event


class MambaHawkes(nn.Module):
    """A marked multivariate point process over feedback kinds.

    Parameters
    ----------
    kinds : sequence of str
        The `K` kinds, in the order of the kind numbers.
    settings : HawkesSettings
        `classical` and `context` switch the two parts.

    Attributes
    ----------
    mu : (K,) tensor
        Background, events per day, positive.
    alpha : (M, K, K) parameter
        `[scale, receiver, source]`, non-negative, dimensionless: an event of weight `g` causes
        `alpha g` direct offspring on that scale. Its jump of the intensity is `alpha beta g`.
    beta : (M,) buffer
        Decay rates `1 / decays_days`, per day, fixed.

    Notes
    -----
    See docs/hawkes.md. `unit` (days) is the internal time unit and `span` (days) the scale of the
    slopes `a`; both are taken from the data at fit, so that no result depends on the unit of time.
    """

    beta: Tensor
    unit: Tensor
    span: Tensor
    mean_weight: Tensor
    mean_count: Tensor

    def __init__(self, kinds: Sequence[str], settings: HawkesSettings) -> None:
        super().__init__()
        if not kinds or len(set(kinds)) != len(kinds):
            raise InputError(f"hawkes: the kinds {list(kinds)} must be distinct and not empty.")
        self.kinds = list(kinds)
        self.settings = settings
        K, M = len(self.kinds), len(settings.decays_days)
        f64 = torch.float64
        beta = 1 / torch.tensor(settings.decays_days, dtype=f64)
        self.register_buffer("beta", beta)
        self.register_buffer("unit", torch.ones((), dtype=f64))
        self.register_buffer("span", torch.ones((), dtype=f64))
        self.register_buffer("mean_weight", torch.ones(K, dtype=f64))  # E[g(count)]
        self.register_buffer("mean_count", torch.ones(K, dtype=f64))
        self.log_mu = nn.Parameter(torch.zeros(K, dtype=f64))
        start = torch.full((M, K, K), 0.1 / (M * K), dtype=f64)
        self.alpha = nn.Parameter(start if settings.classical else torch.zeros_like(start))
        self.alpha.requires_grad_(settings.classical)
        if settings.context:
            slow, fast = float(beta.min()), float(beta.max())
            self.net = Context(K, settings.width, settings.state, settings.layers, slow, fast)
            self.head = nn.Linear(settings.width, K)
            self.slope = nn.Parameter(torch.zeros(K, dtype=f64))
            self.log_s = nn.Parameter(torch.zeros(K, dtype=f64))

    @property
    def mu(self) -> Tensor:
        """Background, (K,), events per day."""
        return self.log_mu.exp() / self.unit

    @property
    def branching(self) -> Tensor:
        """(K, K) direct offspring `[receiver, source]` of an event of mean weight."""
        return self.alpha.sum(0) * self.mean_weight

    def forward(self, events: EventBatch) -> HistoryPath:
        """Intensities and compensators of a batch; cost linear in the number of distinct times."""
        tied = ties(events, len(self.kinds), self.settings.marks)
        after = self.states(tied)  # (B, G + 1, M, K), right after 0, t_1, ..., t_n
        fade = torch.exp(-tied.step[:, :, None] * self.beta)[..., None]  # (B, G + 1, M, 1)
        B, G = tied.time.shape
        left = self.mu.expand(B, G + 1, -1)  # at the end of each stretch
        area = self.mu * tied.step[:, :, None]
        before = after * fade
        if self.settings.classical:
            left = left + torch.einsum("mkl,bgml->bgk", self._jump, before)
            area = area + torch.einsum("mkl,bgml->bgk", self.alpha, after * (1 - fade))
        right, state = left[:, -1], before[:, -1]
        context, z_last = torch.zeros(B, 0), torch.zeros(B, len(self.kinds), dtype=torch.float64)
        if self.settings.context:
            c = self.net(tied, self.unit)
            z = self.head(c).double()
            s = self.scale
            part = s * softplus(z + self.slope / self.span * tied.step[:, :, None])
            left = left + part
            area = area + s * softplus_integral(z, self.slope / self.span, tied.step[:, :, None])
            last = tied.mask.sum(1)
            rows = torch.arange(B)
            context, z_last = c[rows, last], z[rows, last]
            right = right + part[rows, last]
        return HistoryPath(tied, left[:, :G], area, right, state, context, z_last)

    def intensity(self, events: EventBatch, times: Tensor) -> Tensor:
        """Left limits of the intensity at any times, (B, Q) days to (B, Q, K) events per day.

        Past the window's end it is the intensity as long as nothing more happens.
        """
        tied = ties(events, len(self.kinds), self.settings.marks)
        known = torch.where(tied.mask, tied.time, torch.inf).contiguous()
        last = torch.searchsorted(known, times.contiguous(), side="left")  # events before t
        rows = torch.arange(len(times))[:, None]
        origin = torch.nn.functional.pad(tied.time, (1, 0))[rows, last]
        wait = times - origin
        out = self.mu.expand(*times.shape, -1)
        if self.settings.classical:
            fade = torch.exp(-wait[:, :, None] * self.beta)[..., None]
            S = self.states(tied)[rows, last] * fade
            out = out + torch.einsum("mkl,bqml->bqk", self._jump, S)
        if self.settings.context:
            z = self.head(self.net(tied, self.unit)).double()[rows, last]
            out = out + self.scale * softplus(z + self.slope / self.span * wait[:, :, None])
        return out

    @property
    def scale(self) -> Tensor:
        """`s_k` of the softplus part, (K,), events per day."""
        return self.log_s.exp() / self.unit

    @property
    def _jump(self) -> Tensor:
        return self.alpha * self.beta[:, None, None]

    def states(self, tied: Ties) -> Tensor:
        """`S` right after time 0 and each distinct time, (B, G + 1, M, K); a scan with `B = 1`."""
        B, G = tied.time.shape
        K, M = len(self.kinds), len(self.beta)
        ones = torch.ones(B, G, M, dtype=torch.float64)
        S = impulse_states(tied.mark, tied.step[:, :G], -self.beta.expand(K, M), ones)
        return torch.nn.functional.pad(S.transpose(2, 3), (0, 0, 0, 0, 1, 0))

    def save(self, folder: Path) -> None:
        """Write `hawkes.safetensors` and `hawkes.json` into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: t.detach().contiguous() for name, t in self.state_dict().items()}
        save_file(tensors, folder / "hawkes.safetensors")
        about = {"kinds": self.kinds, "settings": self.settings.model_dump()}
        (folder / "hawkes.json").write_text(json.dumps(about, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "MambaHawkes":
        """The process that `save` wrote into `folder`; `InputError` where there is none."""
        folder = Path(folder)
        if not (folder / "hawkes.json").exists():
            raise InputError(f"{folder}: no hawkes.json; run `m3tr trajectories` first.")
        about = json.loads((folder / "hawkes.json").read_text())
        model = cls(about["kinds"], HawkesSettings(**about["settings"]))
        tensors = load_file(folder / "hawkes.safetensors")
        if model.settings.context and tensors["head.weight"].dtype == torch.float64:
            model = model.double()
        model.load_state_dict(tensors)
        return model.eval()
