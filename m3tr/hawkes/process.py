"""The Mamba-Hawkes process; with its parts switched off, the classical Hawkes and the Poisson.

    lambda_k(t) = q_ik (mu_k + sum_{m,k'} alpha[m,k,k'] beta_m S[m,k'](t))
                       + s_k softplus(g_ik(t - t_i))

`S[m,k'](t)` sums `g(count) exp(-beta_m (t - t_j))` over the events of kind `k'` before `t`; `t_i`
is the last event time before `t` (0 before the first). `g_ik` is a linear spline in elapsed time
whose values at the knots are a linear map of the context `c_i`; with one piece it is the line
`w . c_i + a (t - t_i)` of docs/model.md section 3. The gate `q_ik > 0`, a function of `c_i` too, is
1 without a context and constant between events. Every part is non-negative, every integral
closed-form.

All intensities are left limits: nothing at time `t` is seen by `lambda(t)`, ties included.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import elu

from m3tr.errors import InputError
from m3tr.hawkes.context import Context
from m3tr.hawkes.events import EventBatch, Ties, ties, weight
from m3tr.hawkes.scan import impulse_states
from m3tr.hawkes.settings import HawkesSettings
from m3tr.hawkes.spline import spline_softplus


@dataclass(frozen=True)
class HistoryPath:
    """What the process computes on a batch; rates per unit of time, float64."""

    tied: Ties
    left: Tensor  # (B, G, K) intensity just before each distinct time
    compensator: Tensor  # (B, G + 1, K) its integral over each stretch of `tied.step`
    right: Tensor  # (B, K) intensity just after the end of the window
    state: Tensor  # (B, M, K) S right after the end of the window
    context: Tensor  # (B, width) context vector at the end; width 0 without the context part
    gate: Tensor  # (B, K) factor of the classical part after the last event
    z: Tensor  # (B, R + 1, K) the spline's values at the knots after the last event


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
        Background, events per unit of time, positive.
    alpha : (M, K, K) parameter
        `[scale, receiver, source]`, non-negative, dimensionless: an event of weight `g` causes
        `alpha g` direct offspring on that scale. Its jump of the intensity is `alpha beta g`.
    beta : (M,) buffer
        Decay rates, per unit of time, fixed.
    knots : (R + 1,) buffer
        Knots of the spline in elapsed time, from 0 to the longest stretch without an event in
        training; beyond, the argument of the softplus stays.

    Notes
    -----
    See docs/hawkes.md. Times are in the unit of the data. `measure` takes the scales of time from
    the training sequences, so that no result depends on that unit.
    """

    beta: Tensor
    knots: Tensor
    unit: Tensor
    mean_weight: Tensor
    mean_count: Tensor

    def __init__(self, kinds: Sequence[str], settings: HawkesSettings) -> None:
        super().__init__()
        if not kinds or len(set(kinds)) != len(kinds):
            raise InputError(f"hawkes: the kinds {list(kinds)} must be distinct and not empty.")
        self.kinds = list(kinds)
        self.settings = settings
        K, M = len(self.kinds), settings.n_scales
        f64 = torch.float64
        decays = settings.decays or [10.0**m for m in range(M)]
        self.register_buffer("beta", 1 / torch.tensor(decays, dtype=f64))
        self.register_buffer("knots", torch.arange(settings.knots + 1, dtype=f64))
        self.register_buffer("unit", torch.ones((), dtype=f64))
        self.register_buffer("mean_weight", torch.ones(K, dtype=f64))  # E[g(count)]
        self.register_buffer("mean_count", torch.ones(K, dtype=f64))
        self.log_mu = nn.Parameter(torch.zeros(K, dtype=f64))
        start = torch.full((M, K, K), 0.1 / (M * K), dtype=f64)
        self.alpha = nn.Parameter(start if settings.classical else torch.zeros_like(start))
        self.alpha.requires_grad_(settings.classical)
        if settings.context:
            self.net = Context(K, settings)
            self.head = nn.Linear(settings.width, K * (settings.knots + 1))
            self.log_s = nn.Parameter(torch.zeros(K, dtype=f64))
            if settings.gate:
                self.gain = nn.Linear(settings.width, K)
                nn.init.zeros_(self.gain.weight)
                nn.init.zeros_(self.gain.bias)

    def measure(self, events: EventBatch) -> None:
        """Set the scales of time and the mean marks to those of the training sequences."""
        n, time = float(events.mask.sum()), float(events.end.sum())
        self.unit.fill_(time / n)
        for k in range(len(self.kinds)):
            count = events.count[events.mask & (events.kind == k)]
            if len(count):
                self.mean_weight[k] = weight(count, self.settings.marks).mean()
                # counts of counter series are heavy-tailed: a mean of logarithms is the typical one
                self.mean_count[k] = torch.exp2(torch.log2(1 + count).mean()) - 1
        steps = ties(events, len(self.kinds), self.settings.marks).step
        steps = steps[steps > 0].sort().values
        self.knots.copy_(quantile_knots(steps, self.settings.knots))
        if self.settings.decays is None:
            # from the shorter gaps to the mean window
            short, long = steps[int(0.1 * (len(steps) - 1))], time / len(events)
            base = max(float(long / short), 10.0)
            decays = short * torch.logspace(0, 1, len(self.beta), base=base, dtype=torch.float64)
            self.beta.copy_(1 / decays)

    @property
    def mu(self) -> Tensor:
        """Background, (K,), events per unit of time."""
        return self.log_mu.exp() / self.unit

    @property
    def branching(self) -> Tensor:
        """(K, K) direct offspring `[receiver, source]` of an event of mean weight."""
        return self.alpha.sum(0) * self.mean_weight

    def forward(self, events: EventBatch) -> HistoryPath:
        """Intensities and compensators of a batch; cost linear in the number of distinct times."""
        tied = ties(events, len(self.kinds), self.settings.marks)
        after = self.states(tied)  # (B, G + 1, M, K), right after 0, t_1, ..., t_n
        passed = (tied.step[:, :, None] * self.beta)[..., None]  # (B, G + 1, M, 1)
        B, G = tied.time.shape
        left = self.mu.expand(B, G + 1, -1)  # at the end of each stretch
        area = self.mu * tied.step[:, :, None]
        before = after * torch.exp(-passed)
        if self.settings.classical:
            jump, direct = (a.transpose(1, 2).flatten(0, 1) for a in (self._jump, self.alpha))
            left = left + before.flatten(2) @ jump
            area = area - (after * torch.expm1(-passed)).flatten(2) @ direct
        right, state = left[:, -1], before[:, -1]
        width = self.settings.width if self.settings.context else 0
        context = torch.zeros(B, width)
        z_last = torch.zeros(B, len(self.knots), len(self.kinds), dtype=torch.float64)
        gate = torch.ones(B, len(self.kinds), dtype=torch.float64)
        if self.settings.context:
            c = self.net(tied, self.beta, self.knots)
            last = tied.mask.sum(1)  # the stretch that reaches the end of the window
            alive = torch.arange(G + 1) <= last[:, None]
            factor = self.gate(c)
            left, area = left * factor, area * factor
            z = self.splines(c[alive])  # (n, R + 1, K)
            value, whole = spline_softplus(z, self.knots, tied.step[alive])
            rows = torch.arange(B)
            at = alive.sum(1).cumsum(0) - 1
            context, z_last, gate = c[rows, last], z[at].double(), factor[rows, last]
            right = right * gate + self.scale * value[at]
            empty = torch.zeros(B, G + 1, len(self.kinds), dtype=torch.float64)
            left = left + empty.masked_scatter(alive[:, :, None], self.scale * value)
            area = area + empty.masked_scatter(alive[:, :, None], self.scale * whole)
        return HistoryPath(tied, left[:, :G], area, right, state, context, gate, z_last)

    def gate(self, context: Tensor) -> Tensor:
        """Factor of the classical part after each context vector, (..., width) to (..., K).

        `exp(x)` below 0 and `1 + x` above, for a linear map `x` that is 0 before training.
        """
        if not self.settings.gate:
            return torch.ones(*context.shape[:-1], len(self.kinds), dtype=torch.float64)
        return 1 + elu(self.gain(context).double())

    def splines(self, context: Tensor) -> Tensor:
        """(..., width) context vectors to the splines' values at the knots, (..., R + 1, K)."""
        return self.head(context).unflatten(-1, (len(self.knots), len(self.kinds)))

    def intensity(self, events: EventBatch, times: Tensor) -> Tensor:
        """Left limits of the intensity at any times, (B, Q) times to (B, Q, K) rates.

        Past the window's end it is the intensity as long as nothing more happens.
        """
        return self.parts(events, times).sum(0)

    def parts(self, events: EventBatch, times: Tensor) -> Tensor:
        """The background, the classical and the softplus part of `intensity`, (3, B, Q, K)."""
        tied = ties(events, len(self.kinds), self.settings.marks)
        known = torch.where(tied.mask, tied.time, torch.inf).contiguous()
        last = torch.searchsorted(known, times.contiguous(), side="left")  # events before t
        rows = torch.arange(len(times))[:, None]
        origin = torch.nn.functional.pad(tied.time, (1, 0))[rows, last]
        wait = times - origin
        background = self.mu.expand(*times.shape, -1)
        excitation = softplus = torch.zeros_like(background)
        if self.settings.classical:
            fade = torch.exp(-wait[:, :, None] * self.beta)[..., None]
            S = self.states(tied)[rows, last] * fade
            excitation = torch.einsum("mkl,bqml->bqk", self._jump, S)
        if self.settings.context:
            c = self.net(tied, self.beta, self.knots)[rows, last]
            gate, z = self.gate(c), self.splines(c)
            background, excitation = gate * background, gate * excitation
            value, _ = spline_softplus(z.flatten(0, 1), self.knots, wait.flatten())
            softplus = self.scale * value.view_as(background)
        return torch.stack([background, excitation, softplus])

    @property
    def scale(self) -> Tensor:
        """`s_k` of the softplus part, (K,), events per unit of time."""
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

    def fingerprint(self) -> str:
        """A hex digest of all that decides what the process computes."""
        # latent classes are no part of this process
        digest = hashlib.sha256(self.settings.model_dump_json(exclude={"classes"}).encode())
        digest.update(json.dumps(self.kinds).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, folder: Path) -> "MambaHawkes":
        """The process that `save` wrote into `folder`; `InputError` where there is none."""
        folder = Path(folder)
        if not (folder / "hawkes.json").exists():
            raise InputError(f"{folder}: no hawkes.json; run `m3tr trajectories` first.")
        about = json.loads((folder / "hawkes.json").read_text())
        try:
            settings = HawkesSettings(**about["settings"])
        except ValidationError as error:
            raise InputError(
                f"{folder}: written by another version of m3tr; run `m3tr trajectories` again."
            ) from error
        model = cls(about["kinds"], settings)
        tensors = load_file(folder / "hawkes.safetensors")
        if model.settings.context and tensors["head.weight"].dtype == torch.float64:
            model = model.double()
        model.load_state_dict(tensors)
        return model.eval()


def quantile_knots(steps: Tensor, pieces: int) -> Tensor:
    """Knots from 0 to the longest of the sorted positive `steps`, dense where the steps are.

    All but the last lie at quantiles that crowd towards both ends, where an intensity bends most.
    """
    inner = torch.linspace(0, 1, pieces + 1, dtype=torch.float64)[1:-1]
    share = (1 - torch.cos(math.pi * inner)) / 2
    knots = torch.zeros(pieces + 1, dtype=torch.float64)
    knots[1:-1] = steps[((len(steps) - 1) * share).long()]
    knots[-1] = steps[-1]
    # steps on a lattice repeat: each knot lies beyond the one before it
    for r in range(2, pieces + 1):
        knots[r] = torch.maximum(knots[r], 1.05 * knots[r - 1])
    return knots
