"""Exact log likelihood of the process."""

from typing import NamedTuple

import torch
from torch import Tensor

from m3tr.hawkes.events import EventBatch, buckets
from m3tr.hawkes.process import MambaHawkes


class Likelihood(NamedTuple):
    """Log likelihood of each sequence on `(0, end]`, per unit of time, and its terms."""

    total: Tensor  # (B,) sum of `event` less the sum of `compensator`
    event: Tensor  # (B, L) log intensity of each event's kind just before it; 0 where not scored
    compensator: Tensor  # (B, K) integral of each kind's intensity over the window


def log_likelihood(model: MambaHawkes, events: EventBatch) -> Likelihood:
    """`sum_j log lambda_{k_j}(t_j-) - sum_k int_0^end lambda_k(t) dt`, exact.

    All kinds are integrated, with the stretch before the first event and the one after the last.
    Events at time 0 condition, and have no term. The density is per unit of time of the data: in
    another unit the total changes by the number of events times the logarithm of the ratio.
    """
    path = model(events)
    scored = events.mask & (events.time > 0)
    rows = torch.arange(len(events))[:, None]
    if path.left.shape[1]:
        at_event = path.left[rows, path.tied.group, events.kind]
        event = torch.where(scored, at_event, 1.0).log()
    else:
        event = torch.zeros_like(events.time)
    compensator = path.compensator.sum(1)
    return Likelihood(event.sum(1) - compensator.sum(1), event, compensator)


def mean_log_likelihood(model: MambaHawkes, events: EventBatch, batch_size: int = 256) -> float:
    """Log likelihood per event over all sequences, per unit of time; no gradient."""
    total = 0.0
    with torch.no_grad():
        for rows in buckets(events.lengths, batch_size):
            total += float(log_likelihood(model, events.select(rows)).total.sum())
    return total / max(int((events.mask & (events.time > 0)).sum()), 1)
