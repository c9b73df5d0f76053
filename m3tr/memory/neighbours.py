"""What a search found."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of Q queries, best first.

    Attributes
    ----------
    index : ndarray of int64, shape (Q, k)
        Positions in the bank; -1 where fewer than k items were allowed.
    score, trajectory, content : ndarray, shape (Q, k)
        The combined similarity and its two sides; 0 where `index` is -1.
    modalities : dict of str to ndarray, shapes (Q, k)
        The cosine of each modality; 0 where query or item lack it.
    shares : dict of str to ndarray, shapes (Q,)
        Weight of each part of the score (`trajectory` and the modalities): times the cosines, they
        add up to it.
    age : ndarray, shape (Q,), or None
        The age, days, at which trajectories were compared; NaN, or without it, that of the task.
    """

    index: np.ndarray
    score: np.ndarray
    trajectory: np.ndarray
    content: np.ndarray
    modalities: Mapping[str, np.ndarray] = field(default_factory=dict)
    shares: Mapping[str, np.ndarray] = field(default_factory=dict)
    age: np.ndarray | None = None

    @classmethod
    def nobody(cls, queries: int, k: int) -> "Neighbours":
        """No neighbour for any of the queries."""
        none = np.zeros((queries, k))
        shares = {"trajectory": np.zeros(queries)}
        return cls(np.full((queries, k), -1, np.int64), none, none, none, shares=shares)

    @property
    def found(self) -> np.ndarray:
        """True where there is a neighbour, shape (Q, k)."""
        return self.index >= 0

    def compact(self) -> tuple[np.ndarray, "Neighbours"]:
        """The positions that occur (at least one), and the same neighbours counted in these."""
        used, place = np.unique(np.maximum(self.index, 0), return_inverse=True)
        if not len(used):
            used = np.zeros(1, np.int64)
        index = np.where(self.found, place.reshape(self.index.shape), -1)
        return used, replace(self, index=index)

    def weights(self, weighting: str = "mean", temperature: float = 0.1) -> np.ndarray:
        """Weights over the neighbours, shape (Q, k), rows summing to 1 (0 where none is found)."""
        logit = self.score / temperature if weighting == "softmax" else np.zeros_like(self.score)
        top = np.where(self.found, logit, -np.inf).max(1, initial=-np.inf, keepdims=True)
        w = np.where(self.found, np.exp(np.minimum(logit - top, 0)), 0.0)
        return w / np.maximum(w.sum(1, keepdims=True), 1.0)  # the best one has weight 1 so far
