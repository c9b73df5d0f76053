"""The context network: a Mamba-style stack that reads the whole event history."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from m3tr.hawkes.events import Ties
from m3tr.hawkes.scan import impulse_scan


class Block(nn.Module):
    """One gated selective scan with a residual connection.

    `A` is fixed and spread over the decay rates of the process; each channel has a learned positive
    time scale, and the selection lies in `B` and `C`.
    """

    def __init__(self, width: int, state: int, rates: Tensor) -> None:
        super().__init__()
        inner = width
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.enter = nn.Linear(width, 2 * inner)
        self.select = nn.Linear(inner, 2 * state)
        self.leave = nn.Linear(inner, width)
        self.skip = nn.Parameter(torch.ones(inner))
        self.log_scale = nn.Parameter(torch.zeros(inner))
        self.register_buffer("A", -rates, persistent=False)
        self.A: Tensor

    def forward(self, u: Tensor, gap: Tensor) -> Tensor:
        """(B, G, width) tokens and (B, G) gaps in days to (B, G, width)."""
        x, gate = self.enter(self.norm(u)).chunk(2, dim=-1)
        x = silu(x)
        B, C = self.select(x).chunk(2, dim=-1)
        A = self.A.to(x.dtype) * self.log_scale.exp()[:, None]  # (inner, state)
        y = impulse_scan(x, gap.to(x.dtype), A, B, C, self.skip)
        # impulses add up over a long history: a logarithmic squash keeps their size readable
        return u + self.leave(torch.asinh(y) * silu(gate))


class Context(nn.Module):
    """Context vectors `c_0, ..., c_n` of a sequence: at its start and after each distinct time.

    A token is one distinct time: the embedding of, for each kind, its number of events and the
    `log1p` of their count, and of `log1p(gap)`. The order of simultaneous events cannot matter.
    """

    def __init__(
        self, n_kinds: int, width: int, state: int, layers: int, slow: float, fast: float
    ) -> None:
        super().__init__()
        rates = torch.logspace(0, 1, state, base=fast / slow, dtype=torch.float64) * slow
        self.embed = nn.Linear(2 * n_kinds + 1, width)
        self.blocks = nn.ModuleList(Block(width, state, rates) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.start = nn.Parameter(torch.zeros(width))

    def forward(self, tied: Ties, unit: Tensor) -> Tensor:
        """(B, G + 1, width); `unit` is the time unit of `log1p(gap)`, days."""
        B, G = tied.time.shape
        gap = tied.step[:, :G]
        wait = torch.log1p(gap / unit)[:, :, None]
        seen = torch.cat([torch.log1p(tied.number), torch.log1p(tied.total), wait], -1)
        u = self.embed(seen.to(self.start.dtype))
        for block in self.blocks:
            u = block(u, gap)
        first = self.start.expand(B, 1, -1)
        return torch.cat([first, self.norm(u)], 1)
