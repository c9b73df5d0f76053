"""How fast is the selective scan on this CPU? Ours, plain torch in three ways, and C++, in turn."""

import argparse
import ctypes
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m3tr.hawkes.scan import impulse_scan

Sizes = tuple[int, int, int, int]  # batch, length, channels, states
Way = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

FULL, QUICK = (64, 256, 256, 16), (16, 128, 256, 16)
CHUNK = 16
PLAIN = ("torch_manual", "torch_autograd", "torch_unbind")
REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = Path(__file__).with_name("scan_kernel.cpp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=11, help="times every way is run")
    parser.add_argument("--threads", type=int, help="threads of every way (torch's number)")


def run(options: argparse.Namespace) -> dict[str, float]:
    """Forward and backward of every way, in turn; medians in ms, memory in MB, ratios."""
    sizes = QUICK if options.quick else FULL
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    rounds = 3 if options.quick else options.rounds
    tensors = inputs(sizes)
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Way] = {"numba": numba}
        ways |= {"torch_manual": torch_manual, "torch_autograd": torch_autograd}
        ways |= {"torch_unbind": torch_unbind}
        cpp, reason = compiled(Path(folder), sizes[3])
        ways |= {"cpp": cpp} if cpp else {}
        truth = step(torch_autograd, tensors)
        for name, way in ways.items():  # also the first call, which compiles
            for mine, right in zip(step(way, tensors), truth, strict=True):
                assert (mine - right).abs().max() < 1e-4 * right.abs().max(), name
        wall: dict[str, list[float]] = {name: [] for name in ways}
        used: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):  # in turn: what else the machine does then hits all alike
            for name, way in ways.items():
                clocks = time.perf_counter(), time.process_time()
                step(way, tensors)
                wall[name].append(1e3 * (time.perf_counter() - clocks[0]))
                used[name].append(1e3 * (time.process_time() - clocks[1]))
    memory = {n: extra_mb(n, sizes) for n in ("numba", *PLAIN)}
    batch, L, dim, N = sizes
    print(f"batch {batch}, length {L}, channels {dim}, states {N}, float32, forward + backward,")
    print(f"{torch.get_num_threads()} threads, median of {rounds} rounds\n")
    print(f"{'way':16} {'ms':>8} {'least':>8} {'CPU ms':>8} {'extra MB':>9} {'/ numba':>8}")
    figures: dict[str, float] = {}
    ours = statistics.median(wall["numba"])
    for name in ways:
        median, cpu = statistics.median(wall[name]), statistics.median(used[name])
        extra = f"{memory[name]:9.0f}" if memory.get(name) else f"{'-':>9}"
        row = f"{name:16} {median:8.1f} {min(wall[name]):8.1f} {cpu:8.1f} {extra}"
        print(f"{row} {median / ours:8.2f}")
        figures[f"{name}_ms"] = round(median, 2)
        figures[f"{name}_cpu_ms"] = round(cpu, 2)
        if name != "numba":
            figures[f"{name}_ratio"] = round(median / ours, 3)
    if reason:
        print(f"no C++: {reason}")
    figures |= {f"{name}_extra_mb": round(value) for name, value in memory.items() if value}
    return figures


def inputs(sizes: Sizes) -> tuple[Tensor, ...]:
    """u, delta, A, B, C; the gaps have no gradient, as in the block."""
    batch, L, dim, N = sizes
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    A = -torch.logspace(-1, 1, N).expand(dim, N).contiguous()
    found = (normal(batch, L, dim), A, normal(batch, L, N), normal(batch, L, N))
    u, A, B, C = (t.requires_grad_() for t in found)
    return u, normal(batch, L).abs(), A, B, C


def step(way: Way, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The readout and the gradients of u, A, B and C, for a gradient `y` of the readout."""
    u, delta, A, B, C = tensors
    y = way(u, delta, A, B, C)
    return y.detach(), *torch.autograd.grad(y, (u, A, B, C), y.detach())


def numba(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Ours."""
    return impulse_scan(u, delta, A, B, C, backend="numba")


def torch_autograd(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The reference: a step loop over `unbind`, gradients by autograd."""
    return impulse_scan(u, delta, A, B, C, backend="torch")


def torch_unbind(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """As it is usually written: all decays and inputs at once, then a loop over `unbind`."""
    decay = torch.exp(delta[:, :, None, None] * A)
    into = u[:, :, :, None] * B[:, :, None, :]
    h, out = torch.zeros_like(decay[:, 0]), []
    for decay_i, into_i, C_i in zip(decay.unbind(1), into.unbind(1), C.unbind(1), strict=True):
        h = decay_i * h + into_i
        out.append((h * C_i[:, None]).sum(-1))
    return torch.stack(out, 1)


def torch_manual(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The best of plain torch: a step loop with a backward written by hand."""
    y: Tensor = Manual.apply(u, delta, A, B, C)
    return y


class Manual(torch.autograd.Function):
    """States are kept every `CHUNK` steps and computed again in the backward."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:  # noqa: D102
        h, kept, y = u.new_zeros(u.shape[0], *A.shape), [], torch.empty_like(u)
        for i in range(u.shape[1]):
            if i % CHUNK == 0:
                kept.append(h.clone())
            h.mul_(torch.exp(delta[:, i, None, None] * A))
            h.addcmul_(u[:, i, :, None], B[:, i, None, :])
            torch.bmm(h, C[:, i, :, None], out=y[:, i, :, None])
        ctx.save_for_backward(u, delta, A, B, C, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of u, A, B and C."""
        u, delta, A, B, C, *kept = ctx.saved_tensors
        du, dB, dC, dA = (torch.empty_like(u), torch.empty_like(B), torch.empty_like(C), A * 0)
        back = torch.zeros_like(kept[0])
        for chunk in range(len(kept) - 1, -1, -1):
            steps = range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, u.shape[1]))
            h, a = [kept[chunk]], []
            for i in steps:
                a.append(torch.exp(delta[:, i, None, None] * A))
                h.append(torch.addcmul(a[-1] * h[-1], u[:, i, :, None], B[:, i, None, :]))
            for i in reversed(steps):
                k = i - steps.start
                g = back.addcmul_(dy[:, i, :, None], C[:, i, None, :])
                du[:, i] = torch.bmm(g, B[:, i, :, None])[:, :, 0]
                dB[:, i] = torch.bmm(u[:, i, None, :], g)[:, 0]
                dC[:, i] = torch.bmm(dy[:, i, None, :], h[k + 1])[:, 0]
                back = g.mul_(a[k])
                dA += torch.tensordot(delta[:, i], back * h[k], 1)
        return du, None, dA, dB, dC


def compiled(folder: Path, states: int) -> tuple[Way | None, str]:
    """The C++ kernel, or none and why."""
    compiler = shutil.which("g++")
    if compiler is None:
        return None, "no g++ on this machine"
    library = folder / "kernel.so"
    flags = ["-O3", "-march=native", "-fopenmp", "-ffast-math", "-shared", "-fPIC"]
    command = [compiler, *flags, f"-DSTATES={states}", str(SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["g++ failed"])[-1]
    kernel = ctypes.CDLL(str(library))
    kernel.omp_set_num_threads(torch.get_num_threads())

    def call(name: str, u: Tensor, N: int, *tensors: Tensor) -> None:
        numbers = (ctypes.c_int64(n) for n in u.shape)
        pointers = (ctypes.c_void_p(t.data_ptr()) for t in (u, *tensors))
        getattr(kernel, name)(*numbers, *pointers)

    class Compiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
            N, tiles = A.shape[1], A.shape[0] // 16
            rates = (A / math.log(2)).view(tiles, 16, N).transpose(1, 2).contiguous()
            kept = u.new_empty(len(u), -(-u.shape[1] // CHUNK), tiles, N, 16)
            y = torch.empty_like(u)
            call("forward", u, N, delta, rates, B, C, kept, y)
            ctx.save_for_backward(u, delta, rates, B, C, kept)
            return y

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
            u, delta, rates, B, C, kept = ctx.saved_tensors
            tiles, N = rates.shape[:2]
            du, dA = torch.empty_like(u), u.new_empty(len(u), tiles, N, 16)
            dB, dC = (u.new_empty(len(u), -(-tiles // 4), u.shape[1], N) for _ in "BC")
            call("backward", u, N, delta, rates, B, C, kept, dy.contiguous(), du, dA, dB, dC)
            slopes = dA.sum(0).transpose(1, 2).reshape(-1, N)
            return du, None, slopes, dB.sum(1), dC.sum(1)

    def way(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        y: Tensor = Compiled.apply(u, delta, A, B, C)
        return y

    return way, ""


def extra_mb(name: str, sizes: Sizes) -> float | None:
    """Most memory above the inputs' during one step, in a process of its own; None off Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    code = f"from benchmarks.scan import peak; print(peak({name!r}, {sizes}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak(name: str, sizes: Sizes) -> float:
    """MB by which the resident memory rises above that with the inputs, in this process."""
    way: Way = globals()[name]
    step(way, inputs((2, 20, 32, sizes[3])))  # code is compiled and loaded before
    tensors = inputs(sizes)
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts anew
    before = _status("VmRSS")
    step(way, tensors)
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
