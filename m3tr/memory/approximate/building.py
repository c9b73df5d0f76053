"""Which segments get an index, and of what it is built."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from m3tr.memory.approximate.choice import choose
from m3tr.memory.approximate.index import PAD, Index
from m3tr.memory.approximate.settings import IndexSettings
from m3tr.memory.manifest import Manifest
from m3tr.memory.segment import Segment

QUERIES = 512  # on which effort is tuned and recall measured


def indexed(
    segment: Segment,
    manifest: Manifest,
    settings: IndexSettings,
    queries: np.ndarray | None = None,
    like: Index | None = None,
) -> Segment:
    """The segment with an index, where it is large enough for one.

    Parameters
    ----------
    segment : Segment
    manifest : Manifest
        Whose weights are the default ones.
    settings : IndexSettings
    queries : ndarray of float32, shape (Q, D), optional
        Joint keys that are not in the segment, unweighted. Without them those that `like` was
        tuned on, or else some of the segment's own, which makes the recall a little too good.
    like : Index, optional
        An index whose centroids and codes are taken over instead of trained, if the segment's would
        be of the same plan.

    Raises
    ------
    InputError
        Where no index that the settings permit fits their memory.
    """
    width = -(-segment.keys.shape[1] // PAD) * PAD
    plan = choose(len(segment), width, settings)
    if plan.kind == "flat":
        return replace(segment, index=None)
    if queries is None and like is not None:
        queries = like.queries
    if queries is None or not len(queries):
        queries = segment.keys
    if like is not None and like.plan != plan:
        like = None  # grown out of its lists, or of its memory
    some = np.linspace(0, len(queries) - 1, min(QUERIES, len(queries))).astype(int)
    index = Index.build(
        lambda start, stop: segment.keys[start:stop],
        len(segment),
        settings,
        np.asarray(queries[np.unique(some)], np.float32),
        weights_of(manifest),
        eta=manifest.eta,
        like=like,
    )
    return replace(segment, index=index)


def weights_of(manifest: Manifest) -> Callable[[float], np.ndarray]:
    """The weight of each dimension (D,) of a query that has every modality, by eta."""
    columns = manifest.slices()
    total = sum(manifest.weights.get(m, 0.0) for m in manifest.modalities) or 1.0

    def weights(eta: float) -> np.ndarray:
        out = np.zeros(sum(manifest.layout.values()))
        out[columns["trajectory"]] = eta
        for m in manifest.modalities:
            out[columns[m]] = (1 - eta) * manifest.weights.get(m, 0.0) / total
        return out

    return weights
