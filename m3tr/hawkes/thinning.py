"""Exact simulation of the whole process, classical and softplus part, by Ogata thinning.

On a stretch between two knots the argument of each softplus is linear, so its larger end bounds
it, and the classical part only decays: the bound is closed-form, and thinning with it is exact.
Compiled code looks for the next event of each path; then the context network takes one step for
all paths that had one. A path depends on nothing but the seed, its sequence and its number.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from m3tr.errors import InputError
from m3tr.hawkes.events import EventBatch, Ties, weight
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.stepping import Memory, blocks_of, memory_of, step
from m3tr.hawkes.thinning_numba import advance, run, streams
from m3tr.hawkes.threads import WORK, share
from m3tr.threads import one_thread

# paths that the network steps together
LANES = 4096
MAX_EVENTS = 100_000


@dataclass(frozen=True)
class Paths:
    """Simulated events of some paths, ascending by sequence, path and time."""

    row: np.ndarray  # (n,) int64, sequence of the batch
    path: np.ndarray  # (n,) int64
    time: np.ndarray  # (n,) float64, since the start of the sequence's window
    kind: np.ndarray  # (n,) int64
    count: np.ndarray  # (n,) float64


class _Lanes(NamedTuple):
    """`P` paths in progress."""

    row: np.ndarray  # (P,)
    path: np.ndarray  # (P,)
    now: np.ndarray  # (P,) float64
    last: np.ndarray  # (P,) float64, time of the last event, 0 before the first
    end: np.ndarray  # (P,) float64
    x: np.ndarray  # (P, M, K) excitation of each receiver
    gate: np.ndarray  # (P, K) factor of the classical part
    z: np.ndarray  # (P, R + 1, K) the splines at the knots
    state: np.ndarray  # (P,) uint64, random state
    memory: Memory


def simulate_paths(
    model: MambaHawkes,
    events: EventBatch,
    end: np.ndarray,
    paths: int,
    seed: int,
    marks: list[np.ndarray] | None = None,
    max_events: int = MAX_EVENTS,
) -> Iterator[tuple[np.ndarray, Paths]]:
    """Independent continuations of every sequence, from its end on.

    Yields rows of the batch, in order and a few at a time, and all events of their paths.

    Parameters
    ----------
    model : MambaHawkes
        With the classical part alone any, else of `encoder = "mamba"`.
    events : EventBatch
        The history. For a new sequence: without events, with a window of length 0.
    end : (B,) array
        Until when, since the start of each window; paths of windows that end later are empty.
    paths : int
        Continuations of each sequence.
    seed : int
        Path `p` of sequence `b` is a function of `(seed, b, p)` and its history, to rounding.
    marks : list of K arrays, optional
        Counts from which those of events of each kind are drawn, with equal chances, independent
        of everything else. Default: 1.
    max_events : int
        Most events of a path.

    Raises
    ------
    InputError
        Where a path reaches `max_events`, or the encoder is attention.
    """
    if model.settings.context:
        blocks_of(model.net)  # attention is refused before anything is computed
    K = len(model.kinds)
    table = [np.ones(1)] * K if marks is None else marks
    size = np.array([len(counts) for counts in table])
    draws = np.zeros((2, K, size.max()))  # counts, and their weights
    for k, counts in enumerate(table):
        draws[0, k, : size[k]] = counts
        draws[1, k, : size[k]] = weight(torch.as_tensor(counts), model.settings.marks)
    exact = copy.deepcopy(model).double().eval()  # the network's rounding must not choose events
    with torch.no_grad():
        jump = (exact.alpha * exact.beta[:, None, None]).numpy()
        knots, scale = np.array([0.0, np.inf]), np.zeros(K)
        if model.settings.context:
            knots, scale = exact.knots.numpy(), exact.scale.numpy()
        fixed = (exact.mu.numpy(), jump, exact.beta.numpy(), knots, scale, draws, size)
        for rows, lanes in _started(exact, events, end, paths, seed):
            if model.settings.context:
                with one_thread():
                    found = _neural(exact, lanes, fixed, max_events)
                yield rows, found
            else:
                yield rows, _classical(lanes, fixed, max_events)


def _started(
    model: MambaHawkes, events: EventBatch, end: np.ndarray, paths: int, seed: int
) -> Iterator[tuple[np.ndarray, _Lanes]]:
    """The paths of a few sequences at a time, in the state after the history."""
    seeds = streams(seed, len(events))
    together = max(LANES // max(paths, 1), 1)
    for first in range(0, len(events), together):
        rows = np.arange(first, min(first + together, len(events)))
        part = events.select(rows)
        found = model(part)
        edges = torch.nn.functional.pad(found.tied.time, (1, 0))
        last = edges[torch.arange(len(part)), found.tied.mask.sum(1)].numpy()
        jump = model.alpha * model.beta[:, None, None]
        x = torch.einsum("mkl,bml->bmk", jump, found.state).numpy()
        memory: Memory = []
        if model.settings.context:
            memory = memory_of(model.net, found.tied, model.beta, model.knots)
        of = np.repeat(np.arange(len(part)), paths)
        state = np.concatenate([streams(int(seeds[row]), paths) for row in rows])
        yield (
            rows,
            _Lanes(
                rows[of], np.tile(np.arange(paths), len(part)), part.end.numpy()[of], last[of],
                end[rows][of], x[of], found.gate.numpy()[of], found.z.double().numpy()[of], state,
                [h[of] for h in memory],
            ),
        )  # fmt: skip


def _neural(model: MambaHawkes, lanes: _Lanes, fixed: tuple[Any, ...], max_events: int) -> Paths:
    """All paths event by event: the next of each, then one step of the network."""
    on = np.arange(len(lanes.row))
    last, memory, out = lanes.last.copy(), lanes.memory, []
    kind, count = np.empty(len(on), dtype=np.int64), np.empty(len(on))
    for n in range(max_events + 1):
        moving = (on, lanes.now, last, lanes.end, lanes.x, lanes.gate, lanes.z, lanes.state)
        advance(*moving, *fixed, kind, count)  # type: ignore[call-arg]
        alive = kind[on] >= 0
        keep = torch.from_numpy(alive)
        on, memory = on[alive], [h[keep] for h in memory]
        if not len(on):
            break
        if n == max_events:
            raise _too_many(max_events)
        out.append((on, lanes.now[on], kind[on], count[on]))
        tied = _one_event(lanes.now[on], last[on], kind[on], count[on], model)
        context, memory = step(model.net, memory, tied, model.beta, model.knots)
        lanes.z[on] = model.splines(context).numpy()
        lanes.gate[on] = model.gate(context).numpy()
        last[on] = lanes.now[on]
    if not out:
        return _paths(lanes, np.empty(0, np.int64), *(np.empty(0) for _ in range(3)))
    lane, time, kinds, counts = (np.concatenate(parts) for parts in zip(*out, strict=True))
    order = np.argsort(lane, kind="stable")
    return _paths(lanes, lane[order], time[order], kinds[order], counts[order])


def _classical(lanes: _Lanes, fixed: tuple[Any, ...], max_events: int) -> Paths:
    """Without the network a path runs to its end; it is counted, then run again and kept."""
    n = np.zeros(len(lanes.row), dtype=np.int64)
    start = (lanes.now, lanes.last, lanes.end, lanes.x, lanes.gate, lanes.z, lanes.state)
    none = (np.empty(0), np.empty(0, dtype=np.int64), np.empty(0))
    first = np.zeros(len(n), dtype=np.int64)
    share(run, len(n), len(n) * WORK, *start, *fixed, max_events, n, first, *none)
    if (n >= max_events).any():
        raise _too_many(max_events)
    first, total = np.cumsum(n) - n, int(n.sum())
    time, kind, count = np.empty(total), np.empty(total, dtype=np.int64), np.empty(total)
    arrays = (max_events, n, first, time, kind, count)
    share(run, len(n), len(n) * WORK, *start, *fixed, *arrays)
    return _paths(lanes, np.repeat(np.arange(len(n)), n), time, kind, count)


def _paths(
    lanes: _Lanes, lane: np.ndarray, time: np.ndarray, kind: np.ndarray, count: np.ndarray
) -> Paths:
    return Paths(lanes.row[lane], lanes.path[lane], time, kind.astype(np.int64), count)


def _too_many(max_events: int) -> InputError:
    return InputError(
        f"simulate: a path reached {max_events} events; shorten the window, raise max_events, or "
        "look at branching_ratio: from 1 on the process explodes."
    )


def _one_event(
    now: np.ndarray, last: np.ndarray, kind: np.ndarray, count: np.ndarray, model: MambaHawkes
) -> Ties:
    """The `Ties` of one event a path."""
    P, K = len(now), len(model.kinds)
    time, step_ = torch.from_numpy(now)[:, None], torch.from_numpy(now - last)
    one = torch.nn.functional.one_hot(torch.from_numpy(kind), K)[:, None].double()  # (P, 1, K)
    c = torch.from_numpy(count)[:, None, None]
    g = weight(c, model.settings.marks)
    empty: Tensor = torch.zeros(P, 1, dtype=torch.int64)
    steps = torch.stack([step_, torch.zeros_like(step_)], 1)
    return Ties(time, empty == 0, empty, one, one * c, one * g, steps)
