"""Integrals of a rate that depends on the hour of day, in closed form."""

import numpy as np

HOURS = 24


def passed(days: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """Integral of the clock (24,) from a midnight to times in days after it, of any shape."""
    whole = np.floor(days)
    within = np.concatenate([[0.0], np.cumsum(clock)]) / HOURS
    return whole * within[-1] + np.interp((days - whole) * HOURS, np.arange(HOURS + 1), within)


def exposure(
    hour: np.ndarray, start: np.ndarray, end: np.ndarray, edges: np.ndarray, clock: np.ndarray
) -> np.ndarray:
    """Integral of the clock over each bin of age, from start to end of each window; (N, B), days.

    Parameters
    ----------
    hour : ndarray, shape (N,)
        Hour of day at age 0.
    start, end : ndarray, shape (N,)
        Ages, days.
    edges : ndarray, shape (B + 1,)
        Ages between the bins; the last bin has no end.
    clock : ndarray, shape (24,)
        Rate in each hour of the day.
    """
    return np.diff(passed(_at(hour, start, end, edges), clock), axis=1)


def by_hour(hour: np.ndarray, end: np.ndarray, edges: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Integral of rates (N, B) from age 0 that falls into each hour of the day, (24,)."""
    at = _at(hour, np.zeros(len(end)), end, edges)
    # what each edge adds: it ends a bin and begins the next
    weight = -np.diff(rate, axis=1, prepend=0, append=0)
    whole = np.floor(at)
    within = [(weight * np.clip((at - whole) * HOURS - h, 0, 1)).sum() for h in range(HOURS)]
    found: np.ndarray = ((weight * whole).sum() + np.array(within)) / HOURS
    return found


def _at(hour: np.ndarray, start: np.ndarray, end: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Edges of the bins within each window, days after the midnight before it, (N, B + 1)."""
    inner = np.broadcast_to(edges[1:-1], (len(end), len(edges) - 2))
    ages = np.column_stack([start, inner, end])
    last = np.maximum(start, end)[:, None]
    found: np.ndarray = np.clip(ages, start[:, None], last) + hour[:, None] / HOURS
    return found
