"""Likelihood of a video's feedback under many immigrations, compiled with numba.

Branching is known, so its part of the intensity is computed once a video. With immigration
`exp(v) d(s) own_k`, density `d` a draw and log volume `v = m + sd z`, the likelihood in `z` is

    sum_i log(exp(v) d(t_i) own_i + excited_i) - exp(v) mass  (+ what does not depend on d and v).
"""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def log_likelihoods(  # type: ignore[no-untyped-def]
    density, cell, own, excited, mass, log_volume, sd, nodes, log_nodes
):
    """Quadrature over the log volume's normal prior, around the mode of each draw.

    Parameters
    ----------
    density : (R, P) draws of the immigration's density over cells
    cell : (n,) int64, cell of each event
    own, excited : (n,) factor of the density, and what is added to it, in each event's intensity
    mass : (R,) integral of the immigration of all kinds at volume one
    log_volume, sd : mean and standard deviation of the prior
    nodes, log_nodes : (Q,) nodes of the Gauss-Hermite rule (weight exp(-x^2/2)); the logs of its
        weights, divided by sqrt(2 pi), plus x^2/2

    Returns
    -------
    volumes : (R, Q) log volume at each node
    weights : (R, Q) log of likelihood times prior times the rule's weight
    """
    R, Q, n = density.shape[0], len(nodes), len(cell)
    volumes, weights = np.empty((R, Q)), np.empty((R, Q))
    a = np.empty(n)
    z = 0.0
    for r in range(R):
        for i in range(n):
            a[i] = density[r, cell[i]] * own[i]
        curvature = 1.0
        for _ in range(12):  # Newton, from the mode of the draw before
            v = math.exp(log_volume + sd * z)
            immigrants, spread = 0.0, 0.0
            for i in range(n):
                x = v * a[i]
                p = x / (x + excited[i])
                immigrants += p
                spread += p * (1.0 - p)
            curvature = max(1.0 + sd * sd * (v * mass[r] - spread), 0.5)
            step = (sd * (immigrants - v * mass[r]) - z) / curvature
            z += min(max(step, -1.0), 1.0)
            if abs(step) < 1e-3:
                break
        width = 1.0 / math.sqrt(curvature)
        for q in range(Q):
            at = z + width * nodes[q]
            v = math.exp(log_volume + sd * at)
            # one logarithm for many factors
            total, product = 0.0, 1.0
            for i in range(n):
                product *= v * a[i] + excited[i]
                if product > 1e200 or product < 1e-200:
                    total += math.log(product) if product > 0.0 else -np.inf
                    product = 1.0
            total += math.log(product) - v * mass[r]
            volumes[r, q] = log_volume + sd * at
            weights[r, q] = total + log_nodes[q] + math.log(width) - 0.5 * at * at
    return volumes, weights
