"""Compiled kernels over many independent tasks, shared out among threads.

The threads are Python's, as many as torch has: the kernels release the GIL, and a second OpenMP
pool beside torch's would fight it for the cores.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

SMALL = 2_000_000  # units of work, below which threads cost more than they save
WORK = 10_000  # units of a simulated path, roughly
TURNS = 8  # kernel calls a thread: few enough to be cheap, enough to even out a busy core


def share(kernel: Callable[..., None], tasks: int, work: int, *arguments: Any) -> None:
    """Run `kernel(first, last, *arguments)` over all tasks; idle threads take the next few.

    Tensors are handed over as arrays; those that the kernel writes must be contiguous.
    """
    arrays = [a.detach().contiguous().numpy() if isinstance(a, Tensor) else a for a in arguments]
    threads = min(torch.get_num_threads(), tasks) if work > SMALL else 1
    size = max(1, -(-tasks // (TURNS * threads)))
    turns = iter(range(0, tasks, size))  # its `next` is atomic

    def take() -> None:
        for first in turns:
            kernel(first, min(first + size, tasks), *arrays)

    if threads == 1:
        kernel(0, tasks, *arrays)
        return
    with ThreadPoolExecutor(threads - 1) as pool:  # made anew, for a pool would not survive a fork
        others = [pool.submit(take) for _ in range(threads - 1)]
        take()
        for other in others:
            other.result()
