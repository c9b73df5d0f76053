"""Forecasts of a rate that declines as a power of age, read off trailing windows of the history.

Audiences drift away: a video's rate falls roughly as `u^-p` in its age `u`, which no fixed set of
exponential decays says of ages far beyond the window. Given `N` events of a kind in `(s, a]`, the
likelihood of a Poisson process of intensity `level (u + c)^-p` has its maximum at

    level = N / int_s^a (u + c)^-p du,     expected in (a, H]: level int_a^H (u + c)^-p du

Here are these expectations for several `s` and `p`, and those of an exponent of each sequence's
own, drawn towards 1 where little was seen (docs/model.md, section 3).
"""

import numpy as np

from m3tr.hawkes.events import EventBatch

# a window begins at the last event before this share of the age: a counter's row tells of what
# came since the row before it. Where a log has few events, late windows then say too little
BEGINS = (0.0, 1 / 2, 3 / 4, 7 / 8, 15 / 16, 31 / 32)
EXPONENTS = (0.0, 1.0, 2.0)
CORE = 0.01  # c, as a share of the age
USUAL = 1.0  # exponent that a short history is drawn to
STRENGTHS = (0.1, 1.0, 10.0)  # of that draw, in units of the slope's information
STEEPEST = (-1.0, 4.0)


def decline(
    events: EventBatch, kinds: list[str], horizon: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Expected increments under a power-law decline.

    Parameters
    ----------
    events : EventBatch
        B sequences.
    kinds : list of str
        Their kinds; the first is the target and gets all exponents, the others `USUAL` alone.
    horizon : ndarray, shape (B,)
        Ages up to which is forecast, in the unit of the events.

    Returns
    -------
    X : ndarray, shape (B, D)
        `log2(1 + expected increment)` by kind, window and exponent, then with an own exponent, and
        these exponents. All zero at age 0; without a lead nothing is expected.
    names : list of str
    """
    time, count = events.time.numpy(), events.count.numpy()
    age, horizon = events.end.numpy(), np.maximum(horizon, events.end.numpy())
    seen = age > 0
    a = np.where(seen, age, 1.0)
    core = CORE * a
    H = np.where(seen, horizon, a)
    columns, names = [], []
    for k, kind in enumerate(kinds):
        own = (events.mask & (events.kind == k) & (events.time > 0)).numpy()
        begin = [_begin(time, own, a, share) for share in BEGINS]
        total = [(count * (own & (time > s[:, None]))).sum(1) for s in begin]
        for share, s, n in zip(BEGINS, begin, total, strict=True):
            for p in EXPONENTS if k == 0 else (USUAL,):
                growth = _integral(a, H, p, core) / _integral(s, a, p, core)
                columns.append(np.log2(1 + n * growth))
                names.append(f"log_decline_{p:g}_from_{share:g}[{kind}]")
        for strength in STRENGTHS if k == 0 else STRENGTHS[1:2]:
            own_p, level = _own_exponent(begin, total, a, core, strength)
            columns += [np.log2(1 + level * _integral(a, H, own_p, core)), own_p]
            names += [f"{what}_{strength:g}[{kind}]" for what in ("log_decline_own", "exponent")]
    return np.where(seen[:, None], np.column_stack(columns), 0.0), names


def _begin(time: np.ndarray, own: np.ndarray, age: np.ndarray, share: float) -> np.ndarray:
    """Start (B,) of each trailing window: the last event by `share` of the age, or 0."""
    early = own & (time <= share * age[:, None] * (1 + 1e-9))
    return np.max(time, axis=1, where=early, initial=0.0)


def _integral(
    start: np.ndarray, end: np.ndarray, p: float | np.ndarray, core: np.ndarray
) -> np.ndarray:
    """`int_start^end (u + core)^-p du`, (B,); core > 0."""
    lo, hi = np.log(start + core), np.log(end + core)
    q = 1 - p
    # (e^{q hi} - e^{q lo}) / q, also near q = 0
    ratio = np.where(np.abs(q) < 1e-9, hi - lo, np.expm1(q * (hi - lo)) / np.where(q == 0, 1, q))
    return np.maximum(np.exp(q * lo) * ratio, 1e-300)


def _own_exponent(
    begin: list[np.ndarray],
    total: list[np.ndarray],
    age: np.ndarray,
    core: np.ndarray,
    strength: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Exponent and level (B,): a line of log rate on log age over the pieces between the windows.

    A piece weighs as the root of its count: counts spread more than a Poisson process says.
    """
    edges = [*begin, age]
    n = -np.diff([*total, np.zeros_like(age)], axis=0)  # (pieces, B)
    width = np.diff(edges, axis=0)
    there = width > 1e-9 * age
    # where a rate that falls as 1 / u is as large as its mean over the piece
    ratio = (np.array(edges[1:]) + core) / (np.array(edges[:-1]) + core)
    x = np.log(np.where(there, width, 1.0) / np.log(np.where(there, ratio, np.e)))
    y = np.log((n + 0.5) / np.where(there, width, 1.0))
    w = np.where(there, np.sqrt(n + 1), 0.0)
    weight = np.maximum(w.sum(0), 1e-9)
    mean_x, mean_y = (w * x).sum(0) / weight, (w * y).sum(0) / weight
    information = (w * (x - mean_x) ** 2).sum(0)
    slope = ((w * (x - mean_x) * (y - mean_y)).sum(0) - strength * USUAL) / (information + strength)
    p = np.clip(-slope, *STEEPEST)
    return p, np.exp(mean_y + p * mean_x)
