"""Theorem 1 by simulation: do SCAD and MCP find the zeros, and are they then as good as the oracle?

A network of 6 kinds in which each excites itself and the next: 12 of the 36 branching ratios are
positive, .3 and .23, so the spectral radius is .53; background .2 a kind, decay rate 1.5, known.
Growing windows T, one sequence each. Five estimators of the same data: maximum likelihood, lasso,
SCAD and MCP with the same lambda, and the oracle, maximum likelihood that knows the zeros.

    lambda_T = .12 (500 / T)^.4

on the jumps alpha beta of the intensity and the log likelihood per unit of time; `fit_penalised`
penalises offspring and divides by the events, so its strength is `lambda_T beta T / n`.
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

KINDS = 6
BETA = 1.5
BACKGROUND = 0.2
OWN, NEXT = 0.3, 0.23
WINDOWS = (500, 1000, 2000, 4000, 8000)
ESTIMATORS = ("ML", "lasso", "SCAD", "MCP", "oracle")
FIGURES = ("exact_support", "l2", "coverage", "l2_all")
NORMAL = 1.959964

Table = dict[str, dict[str, dict[str, float]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--replications", type=int, default=100, help="simulated sequences a T")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the figures as a picture")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Simulate, fit and summarise; `{estimator: {T: {exact_support, l2, coverage}}}`."""
    replications = min(options.replications, 25) if options.quick else options.replications
    tasks = [(T, seed) for T in reversed(WINDOWS) for seed in range(replications)]
    # a fresh process each: threads of compiled code do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        found = list(pool.map(one_replication, tasks, chunksize=5))
    table: Table = {}
    for i, estimator in enumerate(ESTIMATORS):
        table[estimator] = {}
        for T in WINDOWS:
            rows = np.array([f[i] for (t, _), f in zip(tasks, found, strict=True) if t == T])
            means = rows.mean(0)
            table[estimator][str(T)] = {
                name: round(float(means[j]), 4) for j, name in enumerate(FIGURES)
            }
    print(f"{replications} replications, {KINDS} kinds, {2 * KINDS} of {KINDS**2} active\n")
    print(_markdown(table))
    if options.plot is not None:
        _plot(table, options.plot)
    return {"replications": replications, "figures": table, "ratio": _ratios(table)}


def network() -> np.ndarray:
    """Branching ratios (1, K, K) [scale, receiver, source]."""
    return (OWN * np.eye(KINDS) + NEXT * np.roll(np.eye(KINDS), 1, axis=0))[None]


def one_replication(task: tuple[int, int]) -> list[tuple[float, ...]]:
    """The `FIGURES` of each estimator; l2 errors are those of the jumps, active or all."""
    from m3tr.hawkes.classical import fit
    from m3tr.hawkes.kernels import Sequences
    from m3tr.hawkes.penalty import fit_penalised
    from m3tr.hawkes.simulate import simulate

    T, seed = task
    truth, beta, kinds = network(), np.array([BETA]), [f"kind {k}" for k in range(KINDS)]
    support = truth > 0
    background = np.full((1, KINDS), BACKGROUND)
    times, numbers = simulate(np.zeros(1), background, truth * BETA, beta, T, seed=1000 * T + seed)
    data = Sequences.single(times, numbers, T)
    strength = 0.12 * (500 / T) ** 0.4 * BETA * T / len(times)
    fits = {
        "ML": fit(data, kinds, beta),
        "lasso": fit_penalised(data, kinds, beta, penalty="lasso", strength=strength),
        "SCAD": fit_penalised(data, kinds, beta, penalty="scad", strength=strength),
        "MCP": fit_penalised(data, kinds, beta, penalty="mcp", strength=strength),
        "oracle": fit(data, kinds, beta, support=support),
    }
    out: list[tuple[float, ...]] = []
    for name in ESTIMATORS:
        found = fits[name]
        exact = bool(((found.alpha > 0) == support).all())
        every = BETA * (found.alpha - truth)
        error = np.abs(every[support])
        # the interval of a parameter that was set to zero is empty: nan covers nothing
        covered = error <= NORMAL * BETA * found.alpha_error[support]
        l2, l2_all = (float(np.linalg.norm(part)) for part in (error, every))
        out.append((float(exact), l2, float(covered.mean()), l2_all))
    return out


def _ratios(table: Table) -> dict[str, dict[str, float]]:
    """l2 error over the oracle's."""
    return {
        name: {T: round(row[T]["l2"] / table["oracle"][T]["l2"], 3) for T in row}
        for name, row in table.items()
    }


def _markdown(table: Table) -> str:
    ratios = _ratios(table)
    lines = [
        "| T | estimator | exact support | l2 error | / oracle | coverage | l2 of all 36 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for T in (str(T) for T in WINDOWS):
        for name in ESTIMATORS:
            row = table[name][T]
            lines.append(
                f"| {int(T):,} | {name} | {row['exact_support']:.2f} | {row['l2']:.3f} "
                f"| {ratios[name][T]:.2f} | {row['coverage']:.3f} | {row['l2_all']:.3f} |"
            )
    return "\n".join(lines)


def _plot(table: Table, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    titles = ("share with exact support", "l2 error of the active jumps", "coverage of 95 %")
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    # lines that fall together stay visible: each is thinner than the one below it
    styles = {
        "oracle": ("#bbbbbb", "-", 6.0),
        "ML": ("#7f7f7f", ":", 2.0),
        "lasso": ("#d62728", "-", 2.0),
        "SCAD": ("#1f77b4", "-", 3.0),
        "MCP": ("#ff9f1c", "--", 1.8),
    }
    for axis, figure_name, title in zip(axes, FIGURES[:3], titles, strict=True):
        for name, (colour, line, width) in styles.items():
            values = [table[name][str(T)][figure_name] for T in WINDOWS]
            axis.plot(WINDOWS, values, line, color=colour, linewidth=width, label=name)
        axis.set(xscale="log", title=title, xlabel="length of the window, T")
        axis.set_xticks(WINDOWS, [f"{T:,}" for T in WINDOWS])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_yscale("log")
    axes[2].axhline(0.95, color="black", linewidth=0.6)
    axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
