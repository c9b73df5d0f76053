"""How long is a training step of our block, and of transformers' Mamba mixer of equal size?"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from m3tr.hawkes.context import ScanBlock
from m3tr.hawkes.settings import HawkesSettings

FULL, QUICK = (64, 256, 256, 16), (16, 64, 256, 16)  # batch, length, width = inner, states

Step = Callable[[], tuple[float, float]]  # one training step: its seconds, and those of the CPU


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=11, help="steps of our block")
    parser.add_argument("--threads", type=int, help="threads of both (torch's number)")


def run(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of one forward + backward; ours before and after the one step of the other."""
    batch, L, width, states = sizes = QUICK if options.quick else FULL
    rounds = 3 if options.quick else options.rounds
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    ours, theirs = our_step(*sizes), mixer_step(*sizes)
    ours[1]()  # the first call compiles
    steps = [ours[1]() for _ in range(rounds)]
    slow = [theirs[1]() for _ in range(3 if options.quick else 1)]  # a minute each at full size
    steps += [ours[1]() for _ in range(rounds)]
    print(f"batch {batch}, length {L}, width and inner {width}, states {states}, float32, one")
    print(f"forward + backward, {torch.get_num_threads()} threads, medians\n")
    print(f"{'block':24} {'ms':>9} {'least':>9} {'CPU ms':>9} {'parameters':>11} {'/ ours':>8}")
    figures: dict[str, float] = {}
    fast = statistics.median(wall for wall, _ in steps)
    for key, name, (model, _), times in (
        ("block", "m3tr ScanBlock", ours, steps),
        ("mixer", "transformers MambaMixer", theirs, slow),
    ):
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        count = sum(p.numel() for p in model.parameters())
        row = f"{name:24} {1e3 * wall:9.1f} {1e3 * min(times)[0]:9.1f} {1e3 * cpu:9.1f}"
        print(f"{row} {count:11} {wall / fast:8.1f}")
        figures |= {f"{key}_ms": round(1e3 * wall, 1), f"{key}_cpu_ms": round(1e3 * cpu, 1)}
    print("\nonly ours: RMS norm, residual, log squash; only theirs: convolution over 4 steps,")
    print("learned gaps (rank 16 projection, softplus), A of its own per channel and state")
    figures["ratio"] = round(figures["mixer_ms"] / figures["block_ms"], 1)
    return figures


def our_step(batch: int, L: int, width: int, states: int) -> tuple[nn.Module, Step]:
    """Our block and a timed training step of it."""
    block = ScanBlock(HawkesSettings(width=width, state=states, dropout=0.0))
    wait, rates = torch.rand(batch, L), torch.logspace(-1, 1, states)
    return block, timed(block, lambda u: block(u, wait, rates), batch, L, width)


def mixer_step(batch: int, L: int, width: int, states: int) -> tuple[nn.Module, Step]:
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
) -> Step:
    """A function that makes one training step on fixed input."""
    u = torch.randn(batch, L, width, requires_grad=True)

    def step() -> tuple[float, float]:
        model.zero_grad(set_to_none=True)
        u.grad = None
        wall, cpu = time.perf_counter(), time.process_time()
        forward(u).square().mean().backward()
        return time.perf_counter() - wall, time.process_time() - cpu

    return step
