"""The context network one event at a time: what a simulation needs of `Context`.

Running a `Context` over a history and stepping through it give the same context vectors; the scan
keeps the history in a state of fixed size, so that an event costs the same however many came
before.
"""

import torch
from torch import Tensor

from m3tr.errors import InputError
from m3tr.hawkes.context import Context, ScanBlock
from m3tr.hawkes.events import Ties
from m3tr.hawkes.scan import impulse_states, impulse_step

# the state of each block right after the last event, (P, width, state)
Memory = list[Tensor]


def memory_of(net: Context, tied: Ties, beta: Tensor, knots: Tensor) -> Memory:
    """The states right after the last event of each sequence, zero where there is none.

    Raises
    ------
    InputError
        For attention, which has no state.
    """
    B, G = tied.time.shape
    rows, last = torch.arange(B), tied.mask.sum(1) - 1
    u = net.embed(net.tokens(tied, beta, knots).to(net.start.dtype))
    rates, slow = net.clock(beta)
    wait = (tied.step[:, :G] * slow).to(u.dtype)
    out = []
    for block in blocks_of(net):
        x, _, B_, _ = block.read(u)
        h = x.new_zeros(B, x.shape[-1], net.state)
        if G:
            states = impulse_states(x, wait, block.A(rates), B_)
            h = torch.where((last >= 0)[:, None, None], states[rows, last], h)
        out.append(h)
        u = block(u, wait, rates)
    return out


def step(
    net: Context, memory: Memory, tied: Ties, beta: Tensor, knots: Tensor
) -> tuple[Tensor, Memory]:
    """One more distinct time for each of `P` paths.

    Parameters
    ----------
    net : Context
        In evaluation mode.
    memory : Memory
    tied : Ties
        With `G = 1`: `time` is the event's, `step[:, 0]` the time since the one before it.
    beta, knots : tensors
        As for `Context`.

    Returns
    -------
    context : (P, width) tensor
        The context vector right after that time.
    memory : Memory
    """
    u = net.embed(net.tokens(tied, beta, knots).to(net.start.dtype))[:, 0]
    rates, slow = net.clock(beta)
    wait = (tied.step[:, 0] * slow).to(u.dtype)
    after = []
    for block, h in zip(blocks_of(net), memory, strict=True):
        x, gate, B, C = block.read(u)
        h, y = impulse_step(h, x, wait, block.A(rates), B, C)
        u = block.write(u, y + block.skip * x, gate)
        after.append(h)
    return net.norm(u), after


def blocks_of(net: Context) -> list[ScanBlock]:
    """The blocks of a network that has a state; `InputError` for attention."""
    blocks = [block for block in net.blocks if isinstance(block, ScanBlock)]
    if len(blocks) < len(net.blocks):
        raise InputError(
            "simulate: attention would reread the whole history at every event; fit with "
            'HawkesSettings(encoder="mamba") to simulate.'
        )
    return blocks
