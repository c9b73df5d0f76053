"""Expected counts after the observation age, and their quantiles by simulation."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from m3tr.hawkes.events import EventBatch, buckets
from m3tr.hawkes.mean import CEILING, mean_path
from m3tr.hawkes.process import HistoryPath, MambaHawkes
from m3tr.hawkes.thinning import simulate_paths


def expected_events(model: MambaHawkes, events: EventBatch, leads: ArrayLike) -> Tensor:
    """Expected number of events of each kind in `(end, end + lead]`.

    Future events have the mean weight of their kind at the fit.

    Parameters
    ----------
    model : MambaHawkes
    events : EventBatch
    leads : (Q,) or (B, Q) array
        Time after the end of each window; negative leads count as 0.

    Returns
    -------
    (B, Q, K) float64 tensor
        At most 1e12 (a supercritical process). Exact without a context; see docs/hawkes.md.
    """
    return mean_path(model, model(events), leads)


def expected_counts(model: MambaHawkes, events: EventBatch, leads: ArrayLike) -> Tensor:
    """Expected count of each kind: `expected_events` times the mean count of an event.

    It is the mean of the sequence's own events of that kind and, where it has none, the typical
    count of the training sequences. In an event log both are 1; in a counter series, where an
    interval's increase is one marked event, this is a plug-in. Shapes as `expected_events`.
    """
    path = model(events)
    return with_counts(model, path, mean_path(model, path, leads))


def forecast_rows(
    model: MambaHawkes,
    events: EventBatch,
    leads: np.ndarray,
    quantiles: Sequence[float],
    paths: int,
    seed: int,
    counts: bool,
    marks: list[np.ndarray],
    max_events: int,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Means and quantiles of the events (or their counts) of each kind in `(end, end + lead]`.

    Returns
    -------
    mean : (B, Q, K) array
    levels : (len(quantiles), B, Q, K) array
        Of the simulated paths: the smallest number that a share of them does not exceed.
    method : {"exact", "simulated", "plug-in"}
        What the mean is.
    """
    B, Q, K = len(events), len(leads), len(model.kinds)
    exact = not model.settings.context and all((c == 1).all() for c in marks)
    if counts:  # the mean count of a sequence's own events is a plug-in too
        exact = exact and bool((events.count[events.mask] == 1).all())
    mean, levels = np.zeros((B, Q, K)), np.zeros((len(quantiles), B, Q, K))
    if len(quantiles):
        order = np.argsort(leads, kind="stable")
        end = events.end.numpy()
        blocks = simulate_paths(
            model, events, end + leads.max(), paths, seed, marks, max_events=max_events
        )
        for rows, found in blocks:
            within = np.searchsorted(leads[order], found.time - end[found.row])  # its first lead
            cell = (found.row - rows[0]) * paths + found.path
            # rounding of end + lead - end must not carry an event beyond the last lead
            cell = (cell * Q + np.minimum(within, Q - 1)) * K + found.kind
            size = len(rows) * paths * Q * K
            weights = found.count if counts else None
            number = np.bincount(cell, weights, minlength=size).reshape(len(rows), paths, Q, K)
            number = number.cumsum(2)
            mean[rows[:, None], order] = number.mean(1)
            at = np.quantile(number, quantiles, axis=1, method="inverted_cdf")
            levels[:, rows[:, None], order] = at
    if exact or not len(quantiles):
        closed = expected_counts if counts else expected_events
        with torch.no_grad():
            for part in buckets(events.lengths, 256):
                mean[part.numpy()] = closed(model, events.select(part), leads).numpy()
    return mean, levels, "exact" if exact else "simulated" if len(quantiles) else "plug-in"


def with_counts(model: MambaHawkes, path: HistoryPath, number: Tensor) -> Tensor:
    n, total = path.tied.number.sum(1), path.tied.total.sum(1)
    mean = torch.where(n > 0, total / n.clamp(min=1), model.mean_count)
    return (number * mean[:, None, :]).clamp(max=CEILING)
