"""Arrays of several parts in one mapping, each part's under a prefix of its own."""

from collections.abc import Mapping

import numpy as np


def joined(parts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """All arrays of all parts, by prefix and name."""
    return {prefix + k: array for prefix, own in parts.items() for k, array in own.items()}


def arrays_of(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays of one part, named as before `joined`."""
    return {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}
