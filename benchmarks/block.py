"""How long is a training step of our block, and of transformers' Mamba mixer of equal size?"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from m3tr.hawkes.context import Block

FULL, QUICK = (64, 256, 256, 16), (16, 64, 256, 16)  # batch, length, width = inner, states


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=11, help="steps of our block")


def run(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of one forward + backward; ours before and after the one step of the other."""
    batch, L, width, states = sizes = QUICK if options.quick else FULL
    rounds = 3 if options.quick else options.rounds
    torch.manual_seed(0)
    ours, theirs = our_step(*sizes), mixer_step(*sizes)
    parameters = [sum(p.numel() for p in model.parameters()) for model, _ in (ours, theirs)]
    ours[1]()  # the first call compiles
    seconds = [ours[1]() for _ in range(rounds)]
    slow = min(theirs[1]() for _ in range(3 if options.quick else 1))  # a minute at full size
    seconds += [ours[1]() for _ in range(rounds)]
    fast = statistics.median(seconds)
    print(f"batch {batch}, length {L}, width and inner {width}, states {states}, float32, one")
    print(f"forward + backward, {torch.get_num_threads()} threads\n")
    print(f"{'block':24} {'ms':>9} {'least':>9} {'parameters':>11} {'/ ours':>8}")
    print(f"{'m3tr Block':24} {1e3 * fast:9.1f} {1e3 * min(seconds):9.1f} {parameters[0]:11} {1:8}")
    row = f"{'transformers MambaMixer':24} {1e3 * slow:9.1f} {1e3 * slow:9.1f} {parameters[1]:11}"
    print(f"{row} {slow / fast:8.1f}")
    print("\nonly ours: RMS norm, residual, asinh; only theirs: convolution over 4 steps, learned")
    print("gaps (rank 16 projection, softplus), A of its own per channel and state")
    return {
        "block_ms": round(1e3 * fast, 2),
        "mixer_ms": round(1e3 * slow, 1),
        "ratio": round(slow / fast, 1),
    }


def our_step(batch: int, L: int, width: int, states: int) -> tuple[nn.Module, Callable[[], float]]:
    """Our block and a timed training step of it."""
    block = Block(width, states, torch.logspace(-1, 1, states, dtype=torch.float64))
    gap = torch.rand(batch, L)
    return block, timed(block, lambda u: block(u, gap), batch, L, width)


def mixer_step(
    batch: int, L: int, width: int, states: int
) -> tuple[nn.Module, Callable[[], float]]:
    """The mixer of equal width, inner width and state, and a timed training step of it."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that its CUDA kernels are absent
        mixer = MambaMixer(
            MambaConfig(hidden_size=width, state_size=states, expand=1, num_hidden_layers=1), 0
        )
    return mixer, timed(mixer, mixer, batch, L, width)


def timed(
    model: nn.Module, forward: Callable[[Tensor], Tensor], batch: int, L: int, width: int
) -> Callable[[], float]:
    """A function that makes one training step on fixed input and returns its seconds."""
    u = torch.randn(batch, L, width, requires_grad=True)

    def step() -> float:
        model.zero_grad(set_to_none=True)
        u.grad = None
        start = time.perf_counter()
        forward(u).square().mean().backward()
        return time.perf_counter() - start

    return step
