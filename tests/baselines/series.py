"""One video's series read at every step: its windows, and the counts that a process expects."""

import numpy as np
from scipy.special import zeta

from m3tr.baselines.hip_process import Kernel, Windows


def windows_of(count, promotion):
    """Windows of one video from its publication on; series (T,), equal weights."""
    n = len(count)
    row, shares = np.asarray(count, float)[None], np.asarray(promotion, float)[None]
    return Windows(row, shares, np.array([n]), np.array([0]), np.ones((1, n)))


def expected(kernel, gamma, eta, mu, promotion):
    """xi (T,) of one video."""
    n = len(promotion)
    parts = windows_of(np.zeros(n), promotion).columns(kernel.response(n + 1))
    return sum(size * part[0] for size, part in zip((gamma, eta, mu), parts, strict=True))


def with_scale(scale, c, theta):
    """A kernel from C of the definition: the branching ratio is a sum, Hurwitz' zeta function."""
    return Kernel(scale * float(zeta(1 + theta, 1 + c)), c, theta)
