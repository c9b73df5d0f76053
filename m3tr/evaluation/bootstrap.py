"""Percentile bootstrap over test videos, vectorised and paired.

A resample is a vector of multinomial weights, the same for every row of the table, so differences
between rows are paired. Statistics are computed from the weights; nothing is copied or re-sorted.
"""

from collections.abc import Iterator

import numpy as np

LEVEL = 0.95
CHUNK = 4_000_000  # weights held at once


class Bootstrap:
    """Resamples of N test videos.

    Parameters
    ----------
    n : int
        Test videos.
    replications : int
        Resamples R.
    seed : int
        Seed of the resamples.
    """

    def __init__(self, n: int, replications: int = 1000, seed: int = 0) -> None:
        self.n, self.replications, self.seed = n, replications, seed
        self._kept: list[np.ndarray] | None = None

    def weights(self) -> Iterator[np.ndarray]:
        """Times each video was drawn, in chunks (r, N) that add up to R rows; same every call."""
        if self._kept is None and self.n * self.replications <= CHUNK:
            self._kept = list(self._draw())
        yield from self._draw() if self._kept is None else self._kept

    def _draw(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        rows = max(1, CHUNK // max(self.n, 1))
        for start in range(0, self.replications, rows):
            r = min(rows, self.replications - start)
            drawn = rng.integers(self.n, size=(r, self.n)) + self.n * np.arange(r)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=r * self.n)
            yield counts.reshape(r, self.n).astype(np.float64)

    def means(self, x: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Mean of each column of `x` (N, C) in each resample, over `group` (N,) only: (R, C)."""
        inside = np.ones(self.n) if group is None else group.astype(np.float64)
        parts = []
        with np.errstate(invalid="ignore", divide="ignore"):
            for w in self.weights():
                parts.append(w @ (x * inside[:, None]) / (w @ inside)[:, None])
        return np.concatenate(parts) if parts else np.zeros((0, x.shape[1]))

    def variances(self, y: np.ndarray) -> np.ndarray:
        """Population variance of `y` (N,) in each resample, (R,)."""
        centred = y - y.mean()  # the difference of means below would cancel badly otherwise
        first, second = self.means(np.column_stack([centred, centred**2])).T
        return second - first**2

    def src(self, y: np.ndarray, Y_hat: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Spearman's correlation of `y` (N,) with each column of `Y_hat` (N, C): (R, C)."""
        inside = np.ones(self.n) if group is None else group.astype(np.float64)
        parts = []
        for w in self.weights():
            w = w * inside
            a = _standard_ranks(w, y)
            columns = [(w * a * _standard_ranks(w, b)).sum(1) for b in Y_hat.T]
            parts.append(np.column_stack(columns))
        return np.concatenate(parts) if parts else np.zeros((0, Y_hat.shape[1]))


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of resampled statistics (R,); NaN where fewer than half are defined."""
    known = values[np.isfinite(values)]
    if len(values) == 0 or 2 * len(known) < len(values):
        return float("nan"), float("nan")
    lo, hi = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def _standard_ranks(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Mid-ranks of `x` (N,) under weights `w` (r, N), centred, of unit weighted norm: (r, N).

    The mid-rank of a value is the weight below it plus half its own: what ranking the resample
    with average ranks for ties gives, up to a constant.
    """
    _, code = np.unique(x, return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    own = np.add.reduceat(w[:, order], starts, axis=1)  # (r, distinct values)
    rank = (np.cumsum(own, axis=1) - own / 2)[:, code]
    total = w.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        rank = rank - (w * rank).sum(1, keepdims=True) / total
        norm = np.sqrt((w * rank**2).sum(1, keepdims=True))
        return rank / np.where(norm > 1e-9 * total, norm, np.nan)
