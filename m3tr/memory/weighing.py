"""All weights of a search, put into the query: the score is then one inner product.

`score = eta t_q.t_b + (1 - eta) sum_m w_m m_q.m_b`, with the weights `w_m` scaled to sum 1 over the
modalities that the query has (docs/retrieval.md, "The score").
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from m3tr.errors import InputError
from m3tr.memory.keys import Keys
from m3tr.memory.manifest import Manifest
from m3tr.memory.settings import HEAVIEST


def joint(manifest: Manifest, keys: Keys) -> np.ndarray:
    """Parts of the keys side by side, float32 (N, D); a modality that they lack is zero.

    Raises
    ------
    InputError
        Where a part has another width than the bank's.
    """
    parts = {"trajectory": keys.trajectory, **keys.content}
    out = np.zeros((len(keys), sum(manifest.layout.values())), np.float32)
    for part, columns in manifest.slices().items():
        if part in parts:
            width, own = manifest.layout[part], parts[part].shape[1]
            if own != width:
                raise InputError(
                    f"{part} keys have {own} dimensions, those of the bank {width}: make them "
                    "with what made the bank's"
                )
            out[:, columns] = parts[part]
    return out


class Shares(NamedTuple):
    """Shares (Q,) of a query's score: of the trajectory, and of each modality in the rest."""

    trajectory: np.ndarray
    within: dict[str, np.ndarray]

    def parts(self) -> dict[str, np.ndarray]:
        """The weight of each part of a key, (Q,)."""
        rest = 1 - self.trajectory
        return {"trajectory": self.trajectory} | {m: rest * w for m, w in self.within.items()}


def shares(
    manifest: Manifest, queries: Keys, eta: float, weights: Mapping[str, float] | None
) -> Shares:
    """`eta` for the trajectory, the rest for the modalities by their weights.

    A query that lacks one of the two sides gives its share to the other, unless `eta` has switched
    that off (0 or 1).

    Raises
    ------
    InputError
        Where `eta` or a weight is out of range, or a modality unknown.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta must be between 0 and 1, not {eta}")
    within = modality_weights(manifest, queries, weights)
    side = np.full(len(queries), float(eta))
    if 0 < eta < 1:
        moved, told = queries.trajectory.any(1), sum(within.values(), np.zeros(len(queries))) > 0
        side[moved & ~told], side[~moved & told] = 1.0, 0.0
    return Shares(side, within)


def effective(manifest: Manifest, weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weight of each modality in a search; one that `weights` does not name has the bank's.

    Raises
    ------
    InputError
        Where a weight is out of range, or a modality unknown.
    """
    given = {**dict.fromkeys(manifest.modalities, 0.0), **manifest.weights, **(weights or {})}
    unknown = sorted(set(given) - set(manifest.modalities))
    if unknown:
        known = ", ".join(manifest.modalities) or "none"
        raise InputError(f"the bank has no modality {unknown[0]!r}, only {known}")
    for m, w in given.items():
        if not 0 <= w <= HEAVIEST:
            raise InputError(f"the weight of {m} must be between 0 and {HEAVIEST:g}, not {w}")
    return given


def modality_weights(
    manifest: Manifest, queries: Keys, weights: Mapping[str, float] | None
) -> dict[str, np.ndarray]:
    """Weight (Q,) of each modality, summing to 1 over those that a query has."""
    nobody = np.zeros(len(queries))
    raw = {
        m: w * queries.content[m].any(1) if m in queries.content else nobody
        for m, w in effective(manifest, weights).items()
    }
    total = sum(raw.values(), nobody)
    return {m: w / np.where(total > 0, total, 1.0) for m, w in raw.items()}
