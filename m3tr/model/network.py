"""The M3TR network: paired cross attention, attentive pooling, non-linear head (docs/model.md, 5).

Notable:
- one pair of cross attentions a modality: the video asks what was retrieved, and the reverse;
- what is missing is masked, never zero-filled: a modality without tokens contributes a learned
  vector that says so;
- the head is an ensemble whose members share their matrices and differ by vectors (BatchEnsemble,
  Wen et al. 2020): many forecasts for little more than the price of one.

Letters in shape comments: B videos, T tokens, W width, M members, H horizons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m3tr.model.inputs import Inputs

CLIP = 3.0  # standard deviations of the numbers that enter the head
QUIET = 0.1  # size of the pooled vectors at first: what they say has to be learned


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network.

    Attributes
    ----------
    dims : mapping
        Modality -> size of its tokens.
    summary : int
        Size of the neighbours' label summary.
    horizons : int
    width, heads, hidden, members : int
        Size of an embedded token, attention heads, hidden units and members of the head.
    dropout, token_dropout : float
        Of the head's hidden units, and of the pooled vectors that enter it.
    direct : sequence of str
        Modalities of one token, whose numbers also enter the head as they are.
    attention : bool
        Whether video and X_R ask each other, or are pooled each by itself.
    """

    dims: Mapping[str, int]
    summary: int
    horizons: int
    direct: Sequence[str]
    width: int
    heads: int
    hidden: int
    members: int
    dropout: float
    token_dropout: float
    attention: bool


class CrossAttention(nn.Module):
    """Pre-norm attention of `x` on `y`, residual; rows whose `y` is empty pass unchanged."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_x, self.norm_y = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)

    def forward(self, x: Tensor, y: Tensor, y_mask: Tensor) -> Tensor:
        """x (B, T, W) asks y (B, T', W), of which `y_mask` (B, T') is present -> (B, T, W)."""
        some = y_mask.any(1)
        absent = ~(y_mask | ~some[:, None])  # an all-absent row would give NaN: attend, then drop
        y = self.norm_y(y)
        answer, _ = self.attention(self.norm_x(x), y, y, absent, need_weights=False)
        return x + answer * some[:, None, None]


class AttentivePooling(nn.Module):
    """Tokens to one vector by learned attention; a learned vector where there is no token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        self.absent = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, W), mask (B, T) -> (B, W)."""
        some = mask.any(1, keepdim=True)
        score = self.score(x).squeeze(-1).masked_fill(~mask & some, -torch.inf)
        pooled = torch.einsum("bt,btw->bw", score.softmax(1), x)
        return torch.where(some, pooled, self.absent)


class PairedCrossAttention(nn.Module):
    """X -> X_R and X_R -> X for one modality, each pooled to one vector."""

    def __init__(self, dim: int, config: NetworkConfig) -> None:
        super().__init__()
        c = config
        self.embed = nn.Sequential(nn.Linear(dim, c.width), nn.GELU(), nn.Linear(c.width, c.width))
        if c.attention:
            self.ask = CrossAttention(c.width, c.heads, c.dropout)
            self.answer = CrossAttention(c.width, c.heads, c.dropout)
        self.attention = c.attention
        self.pool, self.pool_r = AttentivePooling(c.width), AttentivePooling(c.width)

    def forward(self, x: Tensor, mask: Tensor, x_r: Tensor, mask_r: Tensor) -> Tensor:
        """x, x_r (B, T, D) with masks (B, T) -> (B, 2 W)."""
        e, e_r = self.embed(x), self.embed(x_r)
        if self.attention:
            e, e_r = self.ask(e, e_r, mask_r), self.answer(e_r, e, mask)
        return torch.cat([self.pool(e, mask), self.pool_r(e_r, mask_r)], 1)


class SharedLinear(nn.Module):
    """A BatchEnsemble layer: one matrix for all members, between fast weights of each one's own."""

    def __init__(self, members: int, inputs: int, outputs: int, signs: bool) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))
        self.inward = nn.Parameter(torch.ones(members, inputs))
        self.outward = nn.Parameter(torch.ones(members, outputs))
        if signs:  # members that start alike would stay alike
            nn.init.uniform_(self.inward, -1, 1)
            self.inward.data.sign_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, inputs) -> (B, M, outputs)."""
        return nn.functional.linear(x * self.inward, self.weight) * self.outward + self.bias


class Head(nn.Module):
    """Two hidden layers, and for each member a last one that starts at zero."""

    def __init__(self, inputs: int, config: NetworkConfig) -> None:
        super().__init__()
        c = config
        self.hidden = nn.Sequential(
            SharedLinear(c.members, inputs, c.hidden, signs=True),
            nn.ReLU(),
            nn.Dropout(c.dropout),
            SharedLinear(c.members, c.hidden, c.hidden, signs=False),
            nn.ReLU(),
            nn.Dropout(c.dropout),
        )
        self.weight = nn.Parameter(torch.zeros(c.members, c.hidden, c.horizons))
        self.bias = nn.Parameter(torch.zeros(c.members, c.horizons))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, M, H)."""
        hidden = self.hidden(x[:, None].expand(-1, len(self.bias), -1))
        return torch.einsum("bmi,mih->bmh", hidden, self.weight) + self.bias


class M3TRNetwork(nn.Module):
    """Increments from a video, what was retrieved, how that turned out, and the base forecast."""

    centre: Tensor
    scale: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.pairs = nn.ModuleDict({m: PairedCrossAttention(d, c) for m, d in c.dims.items()})
        vectors = 2 * c.width * len(c.dims)
        self.norm = nn.LayerNorm(vectors)
        nn.init.constant_(self.norm.weight, QUIET)
        self.drop = nn.Dropout(c.token_dropout)
        self.head = Head(vectors + sum(c.dims[m] for m in c.direct) + c.summary, c)
        self.register_buffer("centre", torch.zeros(c.horizons))
        self.register_buffer("scale", torch.ones(c.horizons))

    def forward(
        self,
        x: Mapping[str, Tensor],
        mask: Mapping[str, Tensor],
        x_r: Mapping[str, Tensor],
        mask_r: Mapping[str, Tensor],
        summary: Tensor,
    ) -> Tensor:
        """Tokens of the video and of X_R by modality, label summary (B, S) -> increments by member.

        Shape (B, M, H), log2 units; training starts at the mean of the training labels.
        """
        vectors = [pair(x[m], mask[m], x_r[m], mask_r[m]) for m, pair in self.pairs.items()]
        tokens = self.norm(torch.cat(vectors, 1))
        plain = torch.cat([*(x[m][:, 0] for m in self.config.direct), summary], 1)
        together = torch.cat([self.drop(tokens), plain.clamp(-CLIP, CLIP)], 1)
        return self.centre + self.scale * self.head(together)


def arguments(inputs: Inputs) -> tuple[Any, ...]:
    """The network's arguments for all rows of `inputs`, as tensors."""
    parts = (inputs.video.x, inputs.video.mask, inputs.retrieved.x, inputs.retrieved.mask)
    tokens = ({m: torch.from_numpy(a) for m, a in part.items()} for part in parts)
    return (*tokens, torch.from_numpy(inputs.summary))


def pick(arguments: tuple[Any, ...], rows: Tensor) -> tuple[Any, ...]:
    """The arguments for some rows."""
    *parts, summary = arguments
    return (*({m: a[rows] for m, a in part.items()} for part in parts), summary[rows])


def increments(network: M3TRNetwork, inputs: Inputs, batch_size: int = 1024) -> np.ndarray:
    """Increments (N, H) by a network, the mean of its members, log2 units."""
    network.eval()
    everything = arguments(inputs)
    rows = torch.arange(len(inputs.base)).split(batch_size)
    with torch.inference_mode():
        parts = [network(*pick(everything, r)).mean(1).double().numpy() for r in rows]
    return np.concatenate(parts) if parts else np.zeros_like(inputs.base)


def load_network(config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> M3TRNetwork:
    """A trained network from its configuration and weights."""
    network = M3TRNetwork(NetworkConfig(**config))
    network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return network.eval()
