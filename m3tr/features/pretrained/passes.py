"""Rows of several videos through a network together."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np


def in_passes(
    prepared: Sequence[np.ndarray], rows: int, run: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Give rows of equal shape to `run` together, whichever video they come from.

    Nothing is padded, so a video's tokens do not depend on the company it is in.

    Parameters
    ----------
    prepared : sequence of ndarray (T_i, ...)
        One a video.
    rows : int
        Rows of a pass at most.
    run : callable
        Rows (B, ...) -> tokens (B, k, D): k tokens a row.

    Returns
    -------
    list of ndarray (T_i k, D) float32
        In the order of `prepared`.
    """
    places: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for video, array in enumerate(prepared):
        places[array.shape[1:]] += [(video, row) for row in range(len(array))]
    tokens: list[dict[int, np.ndarray]] = [{} for _ in prepared]
    for alike in places.values():
        for start in range(0, len(alike), rows):
            part = alike[start : start + rows]
            found = run(np.stack([prepared[video][row] for video, row in part]))
            for (video, row), token in zip(part, found, strict=True):
                tokens[video][row] = token
    return [np.concatenate([kept[row] for row in range(len(kept))]) for kept in tokens]
