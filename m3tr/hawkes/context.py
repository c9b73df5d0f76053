"""The context network: a Mamba-style stack, or attention, over the whole event history."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from m3tr.hawkes.events import Ties
from m3tr.hawkes.scan import impulse_scan
from m3tr.hawkes.settings import HawkesSettings

HEADS = 4


class ScanBlock(nn.Module):
    """One gated selective scan with a residual connection.

    The state decays by `exp(A wait)`: `A` is fixed and spread over the time scales of the process,
    each channel has a learned positive time scale, and the selection lies in `B` and `C`.
    """

    def __init__(self, settings: HawkesSettings) -> None:
        super().__init__()
        width, state = settings.width, settings.state
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.enter = nn.Linear(width, 2 * width)
        self.select = nn.Linear(width, 2 * state)
        self.leave = nn.Linear(width, width)
        self.drop = nn.Dropout(settings.dropout)
        self.skip = nn.Parameter(torch.ones(width))
        self.log_scale = nn.Parameter(torch.linspace(-1.0, 1.0, width))
        nn.init.normal_(self.leave.weight, std=0.02)

    def forward(self, u: Tensor, wait: Tensor, rates: Tensor) -> Tensor:
        """(B, G, width) tokens, (B, G) gaps and (state,) rates to (B, G, width)."""
        x, gate, B, C = self.read(u)
        y = impulse_scan(x, wait, self.A(rates), B, C, self.skip)
        return self.write(u, y, gate)

    def read(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input and gate (..., width) and selections B and C (..., state) of tokens."""
        x, gate = self.enter(self.norm(u)).chunk(2, dim=-1)
        x = silu(x)
        B, C = self.select(x).chunk(2, dim=-1)
        return x, gate, B, C

    def A(self, rates: Tensor) -> Tensor:  # noqa: N802
        """Decay of each channel and state, (width, state), negative."""
        return -rates * self.log_scale.exp()[:, None]

    def write(self, u: Tensor, y: Tensor, gate: Tensor) -> Tensor:
        """The tokens after this block, (..., width), from the readout of its scan."""
        # impulses add up over a long history: a logarithmic squash keeps their size readable
        squashed = torch.copysign(torch.log1p(y.abs()), y)
        out: Tensor = u + self.drop(self.leave(squashed * silu(gate)))
        return out


class AttentionBlock(nn.Module):
    """Causal self-attention and a feed-forward layer: the encoder of the Transformer-Hawkes row."""

    def __init__(self, settings: HawkesSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads = next(h for h in (HEADS, 2, 1) if width % h == 0)
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-6) for _ in range(2))
        self.enter = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, u: Tensor, wait: Tensor, rates: Tensor) -> Tensor:
        """(B, G, width) tokens to (B, G, width); elapsed time is in the tokens alone."""
        B, G, width = u.shape
        parts = (
            self.enter(self.norms[0](u))
            .view(B, G, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        q, k, v = parts.unbind(0)
        read = scaled_dot_product_attention(q, k, v, is_causal=True)
        u = u + self.drop(self.leave(read.transpose(1, 2).reshape(B, G, width)))
        return u + self.drop(self.feed(self.norms[1](u)))


class Context(nn.Module):
    """Context vectors `c_0, ..., c_n` of a sequence: at its start and after each distinct time.

    A token is one distinct time: for each kind its number of events and the `log1p` of their count,
    and the gap before it and its age, each on every time scale (`log1p(beta_m gap)`) and the gap on
    the pieces between the knots. The order of simultaneous events cannot matter.
    """

    def __init__(self, n_kinds: int, settings: HawkesSettings) -> None:
        super().__init__()
        seen = 2 * n_kinds + 2 * settings.n_scales + settings.knots
        self.embed = nn.Linear(seen, settings.width)
        block = ScanBlock if settings.encoder == "mamba" else AttentionBlock
        self.blocks = nn.ModuleList(block(settings) for _ in range(settings.layers))
        self.norm = nn.RMSNorm(settings.width, eps=1e-6)
        self.drop = nn.Dropout(settings.dropout)
        self.start = nn.Parameter(torch.zeros(settings.width))
        self.state = settings.state
        nn.init.normal_(self.embed.weight[:, :n_kinds])

    def forward(self, tied: Ties, beta: Tensor, knots: Tensor) -> Tensor:
        """(B, G + 1, width); `beta` (M,) and `knots` (R + 1,) in the unit of the data."""
        B, G = tied.time.shape
        dtype = self.start.dtype
        gap = tied.step[:, :G]
        u = self.embed(self.tokens(tied, beta, knots).to(dtype))
        rates, slow = self.clock(beta)
        wait = (gap * slow).to(dtype)
        for block in self.blocks:
            u = block(u, wait, rates)
        first = self.start.expand(B, 1, -1)
        return self.drop(torch.cat([first, self.norm(u)], 1))

    def clock(self, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Decay rates (state,) of the states in the longest time scale, and one over that scale.

        In it no rate depends on the unit of time.
        """
        slow, spread = beta.min(), float(beta.max() / beta.min())
        dtype = self.start.dtype
        return torch.logspace(0, 1, self.state, base=max(spread, 1.0 + 1e-9), dtype=dtype), slow

    @staticmethod
    def tokens(tied: Ties, beta: Tensor, knots: Tensor) -> Tensor:
        """What is read of each distinct time, (B, G, 2 K + 2 M + R) float64."""
        gap = tied.step[:, : tied.time.shape[1], None]
        passed = ((gap - knots[:-1]) / knots.diff()).clamp(0, 1)  # share of each piece
        scales = [torch.log1p(gap * beta), torch.log1p(tied.time[:, :, None] * beta)]
        return torch.cat([tied.number, torch.log1p(tied.total), *scales, passed], -1)
