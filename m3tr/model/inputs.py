"""What the heads are given: tokens of the video, tokens of X_R, and the neighbours' summary."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m3tr.memory.neighbours import Neighbours


@dataclass(frozen=True)
class Tokens:
    """Tokens of N videos by modality: `x[m]` (N, T_m, D_m) float32, `mask[m]` (N, T_m) bool."""

    x: Mapping[str, np.ndarray]
    mask: Mapping[str, np.ndarray]

    def select(self, rows: np.ndarray) -> "Tokens":
        """The tokens of some rows."""
        return Tokens(
            {m: a[rows] for m, a in self.x.items()}, {m: a[rows] for m, a in self.mask.items()}
        )


@dataclass(frozen=True)
class Inputs:
    """Inputs of the heads, of N videos.

    Attributes
    ----------
    video, retrieved : Tokens
        X and X_R.
    summary : ndarray, shape (N, S)
        How the retrieved videos turned out.
    base : ndarray, shape (N, H)
        Base forecast, log2 units.
    numbers : ndarray, shape (N, D)
        Covariates, X_s and base forecast as plain numbers.
    """

    video: Tokens
    retrieved: Tokens
    summary: np.ndarray
    base: np.ndarray
    numbers: np.ndarray

    @property
    def everything(self) -> np.ndarray:
        """Numbers and label summary together, shape (N, D + S)."""
        return np.hstack([self.numbers, self.summary])

    def select(self, rows: np.ndarray) -> "Inputs":
        """The inputs of some rows."""
        video, retrieved = self.video.select(rows), self.retrieved.select(rows)
        plain = self.summary[rows], self.base[rows], self.numbers[rows]
        return Inputs(video, retrieved, *plain)


def retrieved_tokens(bank: Tokens, neighbours: Neighbours, weights: np.ndarray) -> Tokens:
    """X_R: the neighbours' tokens averaged by `weights` (Q, k) over those present, by modality."""
    index = np.where(neighbours.found, neighbours.index, 0)
    x, mask = {}, {}
    for m, tokens in bank.x.items():
        w = weights[:, :, None] * (bank.mask[m][index] & neighbours.found[:, :, None])  # (Q, k, T)
        total = w.sum(1)
        mean = np.einsum("qkt,qktd->qtd", w.astype(np.float32), tokens[index], optimize=True)
        x[m] = (mean / np.maximum(total, 1e-9)[:, :, None]).astype(np.float32)
        mask[m] = total > 1e-9
    return Tokens(x, mask)


def label_summary(
    labels: np.ndarray,
    residuals: np.ndarray,
    neighbours: Neighbours,
    weights: np.ndarray,
    base: np.ndarray,
) -> np.ndarray:
    """How the neighbours turned out, shape (Q, 3 H + 4), float32; zeros where there is none.

    Weighted mean and spread of their out-of-fold residuals, their mean label against the query's
    base forecast, and the mean and best similarities.
    """
    index = np.where(neighbours.found, neighbours.index, 0)
    some = neighbours.found.any(1, keepdims=True)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.einsum("qk,qkh->qh", weights, values)

    residual = residuals[index]
    centre = mean(residual)
    spread = np.sqrt(np.maximum(mean(residual**2) - centre**2, 0))
    against = mean(labels[index]) - base
    similarity = np.column_stack(
        [
            (weights * neighbours.score).sum(1),
            (weights * neighbours.trajectory).sum(1),
            (weights * neighbours.content).sum(1),
            np.where(neighbours.found, neighbours.score, -1.0).max(1, initial=-1.0),
        ]
    )
    columns = [centre, spread, against, similarity]
    return np.where(some, np.hstack(columns), 0.0).astype(np.float32)


def creator_summary(
    labels: np.ndarray, residuals: np.ndarray, found: np.ndarray, base: np.ndarray
) -> np.ndarray:
    """How the creator's earlier videos turned out, shape (Q, 2 H + 1), float32.

    Means of their out-of-fold residuals and of their labels against the query's base forecast, as
    if there were one more that is 0, so that few say little; and how many there are.

    Parameters
    ----------
    labels, residuals : ndarray, shapes (Q, k, H)
    found : ndarray of bool, shape (Q, k)
    base : ndarray, shape (Q, H)
    """
    there = found[:, :, None]
    n = there.sum(1)
    against = np.where(there, labels - base[:, None], 0).sum(1) / (n + 1)
    residual = np.where(there, residuals, 0).sum(1) / (n + 1)
    return np.hstack([residual, against, np.log2(1 + n)]).astype(np.float32)
