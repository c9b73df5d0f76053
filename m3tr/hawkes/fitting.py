"""Fit a point process to a frame of events."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from m3tr.errors import InputError
from m3tr.hawkes import classical, training
from m3tr.hawkes import penalty as penalties
from m3tr.hawkes.classical import ClassicalFit
from m3tr.hawkes.events import EventBatch
from m3tr.hawkes.frames import checked_kinds, kinds_of, read
from m3tr.hawkes.kernels import Sequences
from m3tr.hawkes.point_process import PointProcess
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings

# counts kept of each kind for simulations: all, or the means of as many equal slices
KEPT = 1000


def fit(
    frame: pl.DataFrame,
    settings: HawkesSettings | None = None,
    windows: pl.DataFrame | None = None,
    kinds: Sequence[str] | Sequence[int] | None = None,
    held: Sequence[Any] | pl.Series | None = None,
    penalty: Literal["none", "lasso", "scad", "mcp"] = "none",
    strength: float | None = None,
) -> PointProcess:
    """Fit a process by maximum likelihood.

    With `settings.context` (the default) it is the Mamba-Hawkes process, trained by gradient steps;
    without, the classical process, whose optimum is found exactly and comes with standard errors.
    The result depends on the data and `settings.seed` only, and not on the unit of time.

    Parameters
    ----------
    frame : DataFrame
        Columns `sequence`, `time`, `kind` and, optionally, `count` (default 1).
    settings : HawkesSettings, optional
        `decays`, in the unit of `time`; without them `scales` decay rates are learned.
    windows : DataFrame, optional
        Columns `sequence`, `end` and, optionally, `start` (default 0): when each sequence was
        watched. Sequences without events belong here too. Without windows a sequence ends at its
        last event, which makes every rate a little too high.
    kinds : sequence of str or int, optional
        Default: the sorted distinct kinds of the frame.
    held : sequence of ids, optional
        Sequences that choose the epoch or the penalty's strength instead of training. Default: a
        `validation_share` of them for the epoch, and BIC for the strength.
    penalty : {"none", "lasso", "scad", "mcp"}
        On the offspring, for the classical process.
    strength : float, optional
        Lambda of the penalty; by default it is tuned.

    Raises
    ------
    InputError
        Where a row, a window or a combination of arguments cannot be used. See docs/hawkes.md.
    """
    settings = HawkesSettings() if settings is None else settings
    if not isinstance(settings, HawkesSettings):
        raise InputError(f"fit: settings: pass HawkesSettings(...), not {settings!r}.")
    _check(settings, penalty, strength)
    names = kinds_of(frame) if kinds is None else checked_kinds(kinds)
    if not names:
        raise InputError("fit: the frame has no events; pass some, or name the kinds.")
    sample = read(frame, windows, names)
    scored = sample.events.mask & (sample.events.time > 0)
    if not bool(scored.any()):
        raise InputError("fit: no event lies after the start of its window; pass longer sequences.")
    train, apart = _split(sample.events, sample.ids, held)
    if apart is not None and not settings.context and (penalty == "none" or strength is not None):
        raise InputError("fit: held chooses an epoch or a strength, and neither is open; drop it.")
    texts = [str(k) for k in names]
    marks = [_kept(train.count[train.mask & (train.kind == k)]) for k in range(len(names))]
    if settings.context:
        return PointProcess(training.fit(train, texts, settings, apart), names, marks)
    model = MambaHawkes(texts, settings)
    model.measure(train)
    learned = settings.decays is None and settings.classical
    beta = None if learned else model.beta.numpy()
    found = _estimate(train, apart, texts, settings, beta, penalty, strength)
    classical.put(model, found)
    return PointProcess(model.eval(), names, marks, found)


def _estimate(
    train: EventBatch,
    apart: EventBatch | None,
    kinds: list[str],
    settings: HawkesSettings,
    beta: np.ndarray | None,
    penalty: Literal["none", "lasso", "scad", "mcp"],
    strength: float | None,
) -> ClassicalFit:
    data = Sequences.of(train, settings.marks)
    scales = settings.n_scales
    if penalty == "none":
        K = len(kinds)
        support = np.full((scales, K, K), settings.classical)
        return classical.fit(data, kinds, beta, scales, support)
    if strength is not None:
        return penalties.fit_penalised(data, kinds, beta, scales, penalty, strength)
    held_out = None if apart is None else Sequences.of(apart, settings.marks)
    return penalties.tune(data, kinds, beta, scales, penalty, held_out).best


def _check(settings: HawkesSettings, penalty: str, strength: float | None) -> None:
    """Raise for arguments that contradict one another."""
    if penalty not in ("none", "lasso", "scad", "mcp"):
        raise InputError(f"fit: penalty {penalty!r} is not one of none, lasso, scad, mcp.")
    if strength is not None and penalty == "none":
        raise InputError("fit: a strength needs a penalty; name lasso, scad or mcp.")
    if penalty != "none" and (settings.context or not settings.classical):
        raise InputError(
            "fit: penalties belong to the classical process; pass HawkesSettings(context=False)."
        )


def _split(
    events: EventBatch, ids: pl.Series, held: Sequence[Any] | pl.Series | None
) -> tuple[EventBatch, EventBatch | None]:
    """Training sequences and those held apart."""
    if held is None:
        return events, None
    if isinstance(held, str) or not isinstance(held, Iterable):
        raise InputError(f"fit: held: {held!r} must be a list of ids of the frame.")
    names = [str(i) for i in held]
    rows = {str(i): row for row, i in enumerate(ids)}
    unknown = [name for name in names if name not in rows]
    if unknown or not names:
        what = f"sequence {unknown[0]!r} is not in the data" if unknown else "it names no sequence"
        raise InputError(f"fit: held: {what}; name ids of the frame.")
    apart = sorted({rows[name] for name in names})
    kept = [row for row in range(len(ids)) if row not in set(apart)]
    train = events.select(kept)
    if not kept or not bool((train.mask & (train.time > 0)).any()):
        raise InputError("fit: held leaves no event to train on; hold out fewer sequences.")
    return train, events.select(apart)


def _kept(count: torch.Tensor) -> np.ndarray:
    """Counts to draw from, ascending: one number where all are equal, and of many the means of
    `KEPT` equal slices, which keep the mean of all however heavy their tail is.
    """
    ordered = np.sort(count.numpy())
    if not len(ordered):
        return np.ones(1)
    if ordered[0] == ordered[-1]:
        return ordered[:1]
    if len(ordered) <= KEPT:
        return ordered
    # slices of equal size, cut within a count where need be: else some would weigh twice
    n = len(ordered)
    edges = np.linspace(0, n, KEPT + 1)
    total = np.interp(edges, np.arange(n + 1), np.concatenate([[0.0], ordered.cumsum()]))
    first, last = edges[:-1].astype(int), np.ceil(edges[1:]).astype(int) - 1
    # rounding must not turn a slice of ones into something else
    return np.clip(np.diff(total) * KEPT / n, ordered[first], ordered[last])
