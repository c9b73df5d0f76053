"""The temporal representation `X_s` of a sequence up to its observation age."""

import numpy as np
import torch
from numpy.typing import ArrayLike

from m3tr.hawkes.decline import decline
from m3tr.hawkes.events import EventBatch, buckets
from m3tr.hawkes.forecast import with_counts
from m3tr.hawkes.mean import mean_path
from m3tr.hawkes.process import MambaHawkes
from m3tr.threads import one_thread

# trailing parts of the window, whose counts tell a rise from a decline
TRAILING = (1 / 2, 1 / 4, 1 / 8)
# rate below which two intensities are the same
QUIET = 1e-6


def represent(
    model: MambaHawkes, events: EventBatch, horizons: ArrayLike, batch_size: int = 256
) -> tuple[np.ndarray, list[str]]:
    """`X_s` of every sequence: one row of unscaled numbers (docs/model.md section 3).

    Parameters
    ----------
    model : MambaHawkes
    events : EventBatch
    horizons : (Q,) or (B, Q) array
        Ages at which the expected increment is read; ages before the observation age give 0.
    batch_size : int
        Sequences computed at a time.

    Returns
    -------
    X : (B, D) float32 array
        Per sequence: the context vector at the observation age; per kind the log2 intensity just
        after it (per unit of time); `log2(1 + count)` on the window and on its last half, quarter
        and eighth; `log2(1 + expected increment)` at each horizon; and what a power-law decline of
        the rate says of the last horizon (`decline`). Finite also without events and at age 0.
    names : list of str
        The `D` columns.
    """
    ahead_of = np.asarray(horizons, dtype=np.float64)
    horizons = np.broadcast_to(ahead_of, (len(events), ahead_of.shape[-1]))
    K, Q = len(model.kinds), horizons.shape[1]
    width = model.settings.width if model.settings.context else 0
    names = [f"context_{i}" for i in range(width)]
    names += [f"log_intensity[{kind}]" for kind in model.kinds]
    names += [f"log_count[{kind}]" for kind in model.kinds]
    names += [f"log_count_last_{round(1 / part)}th[{k}]" for part in TRAILING for k in model.kinds]
    names += [f"log_increment_{q}[{kind}]" for q in range(Q) for kind in model.kinds]
    X = np.zeros((len(events), len(names)), dtype=np.float32)
    with one_thread(), torch.no_grad():
        for rows in buckets(events.lengths, batch_size):
            part = events.select(rows)
            # rounded, so that one lead written as many ages stays one lead
            leads = np.round(horizons[rows.numpy()] - part.end.numpy()[:, None], 9)
            path = model(part)
            ahead = with_counts(model, path, mean_path(model, path, leads))
            columns = [path.context.double(), torch.log2(path.right + QUIET)]
            # (0, end] and its trailing parts; events at time 0 count in the whole
            for share in (None, *TRAILING):
                after = -1.0 if share is None else (part.end * (1 - share))[:, None]
                recent = part.count * (part.mask & (part.time > after))
                each = torch.zeros(len(part), K, dtype=torch.float64)
                columns.append(torch.log2(1 + each.scatter_add(1, part.kind, recent)))
            columns.append(torch.log2(1 + ahead).flatten(1))
            X[rows.numpy()] = torch.cat(columns, 1).float().numpy()
    falling, more = decline(events, list(model.kinds), horizons[:, -1])
    return np.hstack([X, falling.astype(np.float32)]), names + more
