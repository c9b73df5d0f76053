"""Predictive distributions as quantiles: conformal ranks, and the score that judges them."""

import numpy as np

# centres of 40 equal parts: their mean pinball loss is the CRPS of the 40 values, exactly
LEVELS = (np.arange(40) + 0.5) / 40


def central(coverage: float) -> np.ndarray:
    """Levels of the two ends of the central interval of a nominal coverage, shape (2,)."""
    return np.array([(1 - coverage) / 2, (1 + coverage) / 2])


def conformal(scores: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
    """Split-conformal quantiles of a sample, column by column.

    Below the median the `floor((n + 1) p)`-th smallest, from it on the `ceil((n + 1) p)`-th: a
    further exchangeable score lies between those of two levels at least as often as they say. A
    rank that a small sample does not have is its smallest or largest score.

    Parameters
    ----------
    scores : ndarray, shape (n, H)
        At least one row, finite.
    levels : ndarray, shape (Q,)
        In (0, 1).

    Returns
    -------
    ndarray, shape (H, Q)
        Not decreasing along increasing levels.
    """
    n = len(scores)
    exact = (n + 1) * np.asarray(levels)
    near = 1e-9 * n  # a product that should be whole is so only up to rounding
    rank = np.where(levels < 0.5, np.floor(exact + near), np.ceil(exact - near))
    place = np.clip(rank.astype(int), 1, n) - 1
    return np.sort(scores, axis=0)[place].T


def crps_from_quantiles(
    y: np.ndarray, quantiles: np.ndarray, levels: np.ndarray = LEVELS
) -> np.ndarray:
    """Continuous ranked probability score, in the unit of `y`; lower is better.

    Twice the pinball loss, averaged over the levels. That is the integral of `(F(x) - 1[x >= y])^2`
    for the `F` that has equal weights on the quantiles; a point forecast scores its absolute error.

    Parameters
    ----------
    y : ndarray, shape (...)
    quantiles : ndarray, shape (..., Q)
    levels : ndarray, shape (Q,)
        Centres of Q equal parts of (0, 1).

    Returns
    -------
    ndarray, shape (...)
    """
    over = np.asarray(y)[..., None] - quantiles
    return 2 * np.maximum(levels * over, (levels - 1) * over).mean(-1)
