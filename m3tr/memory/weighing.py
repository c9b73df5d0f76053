"""All weights of a search, put into the query: the score is then one inner product.

`score = eta t_q.t_b + (1 - eta) sum_m w_m m_q.m_b`, with the weights `w_m` scaled to sum 1 over the
modalities that the query has (docs/retrieval.md, "The score").
"""

from collections.abc import Mapping

import numpy as np

from m3tr.errors import InputError
from m3tr.memory.keys import Keys
from m3tr.memory.manifest import Manifest


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


def weigh(
    manifest: Manifest, queries: Keys, eta: float | None, weights: Mapping[str, float] | None
) -> np.ndarray:
    """The queries' joint keys (Q, D) with `eta` and the modalities' weights in them.

    Raises
    ------
    InputError
        Where `eta` or a weight is out of range, a modality unknown, or a key of another width.
    """
    share = manifest.eta if eta is None else eta
    if not 0 <= share <= 1:
        raise InputError(f"eta must be between 0 and 1, not {share}")
    out, columns = joint(manifest, queries), manifest.slices()
    out[:, columns["trajectory"]] *= share
    for m, own in modality_weights(manifest, queries, weights).items():
        out[:, columns[m]] *= ((1 - share) * own)[:, None]
    return out


def modality_weights(
    manifest: Manifest, queries: Keys, weights: Mapping[str, float] | None
) -> dict[str, np.ndarray]:
    """Weight (Q,) of each modality, summing to 1 over those that a query has.

    A modality that `weights` does not name has the bank's weight.
    """
    given = {**manifest.weights, **(weights or {})}
    unknown = sorted(set(given) - set(manifest.modalities))
    if unknown:
        known = ", ".join(manifest.modalities) or "none"
        raise InputError(f"the bank has no modality {unknown[0]!r}, only {known}")
    if any(not w >= 0 for w in given.values()):
        raise InputError("weights of modalities must not be negative")
    nobody = np.zeros(len(queries))
    raw = {
        m: given.get(m, 0.0) * queries.content[m].any(1) if m in queries.content else nobody
        for m in manifest.modalities
    }
    total = sum(raw.values(), nobody)
    return {m: w / np.where(total > 0, total, 1.0) for m, w in raw.items()}
