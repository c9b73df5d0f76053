"""What a caller passes beside frames: each mistake is one sentence that names the argument."""

import operator
from typing import Any

import numpy as np

from m3tr.errors import InputError


def numbers(values: Any, what: str, unit: str = ", in the unit of the events") -> np.ndarray:
    """A number or a flat list of finite numbers, (Q,) float64."""
    found = _array(values)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise InputError(f"{what}: pass a flat list of finite numbers{unit}.")
    return found


def length(value: Any, what: str) -> float:
    """One stretch of time, finite and not negative."""
    found = numbers(value, what)
    if len(found) != 1 or found[0] < 0:
        raise InputError(
            f"{what}: {value!r} must be one number, not negative, in the unit of the events."
        )
    return float(found[0])


def table(values: Any, what: str) -> np.ndarray:
    """An array of numbers of any shape, float64."""
    found = _array(values)
    if np.isnan(found).any():
        raise InputError(f"{what}: pass an array of finite numbers.")
    return found


def quantiles(values: Any) -> dict[str, float]:
    """Shares in (0, 1), in the order given, by the name of their column."""
    shares = numbers(values, "quantiles", "").tolist()
    if not all(0 < q < 1 for q in shares):
        raise InputError(f"quantiles: {shares} must lie between 0 and 1.")
    names = {f"q{q:g}": q for q in shares}
    if len(names) < len(shares):
        raise InputError(f"quantiles: {shares} name one column twice; name each once.")
    return names


def integer(value: Any, what: str, least: int | None = None) -> int:
    """One integer, of Python or numpy."""
    if not is_integer(value) or (least is not None and value < least):
        bound = "" if least is None else f", {least} or more"
        raise InputError(f"{what}: {value!r} must be an integer{bound}.")
    return operator.index(value)


def draws(paths: Any, seed: Any, max_events: Any) -> tuple[int, int, int]:
    """The integers that a simulation asks for."""
    least = {"paths": 1, "seed": None, "max_events": 1}
    given = zip((paths, seed, max_events), least.items(), strict=True)
    found = [integer(value, name, bound) for value, (name, bound) in given]
    return found[0], found[1], found[2]


def is_integer(value: Any) -> bool:
    """Whether a value is one integer; `True` is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _array(values: Any) -> np.ndarray:
    """At least one-dimensional float64; one nan for what cannot be read as numbers."""
    try:
        return np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError, OverflowError):
        return np.full(1, np.nan)
