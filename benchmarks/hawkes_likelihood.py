"""What does the likelihood of the classical Hawkes process cost, and is its time linear?

Rows, all on the same simulated sequence of 4 kinds under 4 decays, one thread unless it says more:

- plain: the likelihood alone, the recursion as one writes it down: per event one exponential a
  decay and one logarithm, no gradient, no ties, no marks. The lower bound to compare with.
- gradient: value and gradient in mu and alpha; decays: in log beta as well; curvature: value,
  gradient and second derivatives, a pass of the fit.
- tick: `ModelHawkesSumExpKernLogLik.loss_and_grad` of the package tick in an environment of its
  own, whose python is named by M3TR_TICK_PYTHON. tick stores what each event sees of the past:
  `weights` is that step, due once for each set of decays, and its evaluations read it.

Rows take turns; the nanoseconds are those of the best turn, ratios the median over the turns.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import njit

from m3tr.errors import InputError
from m3tr.hawkes.kernels import Sequences, log_likelihood, one_pass, pack
from m3tr.hawkes.simulate import simulate

KINDS = SCALES = 4
SIZE = 1_000_000
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
RADIUS = 0.6

TICK = """
import json, sys, time
import numpy as np
from tick.hawkes import ModelHawkesSumExpKernLogLik

file = np.load(sys.argv[1])
kinds = int(file["kinds"])
events = [file["time"][file["kind"] == k] for k in range(kinds)]
model = ModelHawkesSumExpKernLogLik(file["beta"], n_threads=1)
model.fit(events, end_times=np.array([float(file["end"])]))
# rows mu_k, alpha[k, l, m] to the order mu, alpha
points = [np.concatenate([p[:, 0], p[:, 1:].ravel()]) for p in file["points"]]
begin = time.perf_counter()
found = [model.loss_and_grad(points[0])]
first = time.perf_counter() - begin
found.append(model.loss_and_grad(points[1]))
seconds = []
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    model.loss_and_grad(points[0])
    seconds.append(time.perf_counter() - begin)
out = {"seconds": min(seconds), "first": first}
out["loss"] = [float(loss) for loss, _ in found]
out["gradient"] = [gradient.tolist() for _, gradient in found]
print(json.dumps(out))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark: none of its own."""


def run(options: argparse.Namespace) -> dict[str, object]:
    """Time every row on a million events, then the gradient from 1e4 to 1e7 (quick: 1e6)."""
    sizes = SIZES[:-1] if options.quick else SIZES
    repeats = 5 if options.quick else 15
    mu, alpha, beta = _parameters()
    times, kinds = _events(mu, alpha, beta, max(sizes))
    data, theta = _first(times, kinds, SIZE), pack(mu, alpha)
    many = _cut(data, 1000)
    threads = numba.get_num_threads()
    rows: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(data.time, data.kind, data.end[0], mu, alpha, beta),
        "gradient": lambda: one_pass(data, theta, beta),
        "decays": lambda: one_pass(data, theta, beta, slopes=True),
        "curvature": lambda: one_pass(data, theta, beta, hessian=True),
        f"gradient, 1,000 sequences, {threads} threads": lambda: one_pass(many, theta, beta),
    }
    turns = _interleaved(rows, repeats)
    truth = plain(data.time, data.kind, data.end[0], mu, alpha, beta)
    ours = log_likelihood(data, mu, alpha, beta).total
    if abs(ours / truth - 1) > 1e-10:
        raise InputError(f"hawkes_likelihood: the rows disagree, {ours} and {truth}.")
    nanoseconds = {name: float(s.min()) / SIZE * 1e9 for name, s in turns.items()}
    ratio = {name: float(np.median(s / turns["plain"])) for name, s in turns.items()}
    tick = _tick(data, mu, alpha, beta, repeats)
    if isinstance(tick, dict):
        for name, seconds in tick["seconds"].items():
            nanoseconds[name] = seconds / SIZE * 1e9
            ratio[name] = nanoseconds[name] / nanoseconds["plain"]
    print(f"{SIZE:,} events, {KINDS} kinds, {SCALES} decays, {repeats} turns\n")
    print("| row | ns an event | / plain |\n| --- | --- | --- |")
    for name in nanoseconds:
        print(f"| {name} | {nanoseconds[name]:.0f} | {ratio[name]:.2f} |")
    print(f"\ntick: {tick if isinstance(tick, str) else tick['agreement']}\n")
    print("| events | gradient, ns an event | / 1e6 |\n| --- | --- | --- |")
    linear = _linear({n: _first(times, kinds, n) for n in sizes}, theta, beta)
    for n, (per_event, to_million) in linear.items():
        print(f"| {n:,} | {per_event:.0f} | {to_million:.2f} |")
    return {
        "ns_per_event": {name: round(v, 1) for name, v in nanoseconds.items()},
        "ratio": {name: round(v, 3) for name, v in ratio.items()},
        "linear": {str(n): [round(v, 3) for v in pair] for n, pair in linear.items()},
        "tick": tick["agreement"] if isinstance(tick, dict) else tick,
    }


@njit(cache=True, fastmath={"contract", "reassoc"})
def plain(time, kind, end, mu, alpha, beta):  # type: ignore[no-untyped-def]
    """The log likelihood of one sequence without ties and marks, by the recursion, no gradient."""
    M, K, _ = alpha.shape
    S = np.zeros((M, K))
    total, last = 0.0, 0.0
    for i in range(len(time)):
        k = kind[i]
        rate = mu[k]
        for m in range(M):
            fade = math.exp(-beta[m] * (time[i] - last))
            for l in range(K):  # noqa: E741
                S[m, l] *= fade
                rate += alpha[m, k, l] * S[m, l]
        total += math.log(rate)
        last = time[i]
        for m in range(M):
            S[m, k] += beta[m]
    number = np.zeros(K)
    for i in range(len(time)):
        number[kind[i]] += 1
    for m in range(M):
        fade = math.exp(-beta[m] * (end - last))
        for k in range(K):
            for l in range(K):  # noqa: E741
                total -= alpha[m, k, l] * (number[l] - S[m, l] * fade / beta[m])
    return total - mu.sum() * end


def _parameters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    alpha = rng.uniform(0.0, 1.0, (SCALES, KINDS, KINDS))
    alpha *= RADIUS / np.abs(np.linalg.eigvals(alpha.sum(0))).max()
    return np.full(KINDS, 0.5), alpha, np.geomspace(0.1, 20.0, SCALES)


def _events(
    mu: np.ndarray, alpha: np.ndarray, beta: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    jumps = alpha * beta[:, None, None]
    return simulate(np.zeros(1), mu[None], jumps, beta, np.inf, seed=0, max_events=n)


def _first(times: np.ndarray, kinds: np.ndarray, n: int) -> Sequences:
    """The first `n` events: a path up to a stopping time."""
    return Sequences.single(times[:n], kinds[:n], times[n - 1])


def _cut(data: Sequences, parts: int) -> Sequences:
    """The same events as `parts` sequences, each forgetting what came before."""
    edges = np.linspace(0.0, data.end[0], parts + 1)
    offsets = np.searchsorted(data.time, edges, side="right")
    offsets[0] = 0
    time_of = data.time - np.repeat(edges[:-1], np.diff(offsets))
    ends = np.diff(edges)
    time_of = np.minimum(time_of, np.repeat(ends, np.diff(offsets)))
    return Sequences(time_of, data.kind, data.weight, offsets, ends)


def _interleaved(rows: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each row and turn; the rows take turns, so that other load meets all alike."""
    seconds = {name: np.empty(repeats) for name in rows}
    for row in rows.values():
        row()  # compiles
    for turn in range(repeats):
        for name, row in rows.items():
            begin = time.perf_counter()
            row()
            seconds[name][turn] = time.perf_counter() - begin
    return seconds


def _linear(
    data: dict[int, Sequences], theta: np.ndarray, beta: np.ndarray
) -> dict[int, tuple[float, float]]:
    """Nanoseconds an event of the gradient, and their ratio to those at a million events.

    A turn of any size holds as many events as the largest, in repetitions of the smaller ones.
    """
    most = max(data)

    def turn(n: int) -> Callable[[], object]:
        return lambda: [one_pass(data[n], theta, beta) for _ in range(most // n)]

    seconds = _interleaved({str(n): turn(n) for n in data}, 7)
    million = seconds[str(SIZE)]
    return {
        n: (
            float(seconds[str(n)].min()) / most * 1e9,
            float(np.median(seconds[str(n)] / million)),
        )
        for n in data
    }


def _tick(
    data: Sequences, mu: np.ndarray, alpha: np.ndarray, beta: np.ndarray, repeats: int
) -> dict[str, Any] | str:
    """tick's seconds, and whether it agrees with us; or the reason why it did not run."""
    python = os.environ.get("M3TR_TICK_PYTHON")
    if not python:
        return "skipped: M3TR_TICK_PYTHON does not name the python of an environment with tick"
    pairs = [(mu, alpha), (1.3 * mu, 0.5 * alpha + 0.01)]
    by_source = np.array([np.column_stack([m, _by_source(a)]) for m, a in pairs])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        np.savez(file, time=data.time, kind=data.kind, end=data.end[0], beta=beta,
                 points=by_source, kinds=len(mu))  # fmt: skip
        done = subprocess.run(
            [python, "-c", TICK, str(file), str(repeats)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        return f"skipped: {done.stderr.strip().splitlines()[-1] if done.stderr else 'it failed'}"
    found = json.loads(done.stdout.splitlines()[-1])
    n = len(data.time)
    at = [log_likelihood(data, m, a, beta) for m, a in pairs]
    ours = [np.concatenate([d.mu, _by_source(d.alpha).ravel()]) / -n for d in at]
    apart = max(
        float(np.abs(a - b).max() / np.abs(a).max())
        for a, b in zip(ours, found["gradient"], strict=True)
    )
    gain = (at[0].total - at[1].total) / n
    theirs = found["loss"][1] - found["loss"][0]
    if apart > 1e-8 or abs(gain / theirs - 1) > 1e-8:
        raise InputError(f"hawkes_likelihood: tick disagrees, {apart:.1e}, {gain} and {theirs}.")
    return {
        "seconds": {
            "tick, loss_and_grad": found["seconds"],
            "tick, weights": found["first"] - found["seconds"],
        },
        "agreement": f"gradients agree to {apart:.0e}, differences of log likelihood to "
        f"{abs(gain / theirs - 1):.0e}",
    }


def _by_source(alpha: np.ndarray) -> np.ndarray:
    """`alpha` (M, K, K) as (K, K M): receiver, then source and scale, tick's order."""
    return np.moveaxis(alpha, 0, 2).reshape(alpha.shape[1], -1)
