"""Event sequences as padded tensors, and their groups of simultaneous events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from m3tr.errors import InputError

# a time and the end of a window computed along two routes may differ by rounding
ROUNDING = 1e-6


@dataclass(frozen=True)
class EventBatch:
    """`B` sequences of at most `L` events, padded at the end; times since the start of each.

    Within a sequence events ascend in time. An event at time 0 is history: it excites, but lies
    outside the window `(0, end]` and has no term in the likelihood.
    """

    time: Tensor  # (B, L) float64
    kind: Tensor  # (B, L) int64
    count: Tensor  # (B, L) float64
    mask: Tensor  # (B, L) bool, True = an event
    end: Tensor  # (B,) float64, end of the window

    def __len__(self) -> int:
        return len(self.end)

    @property
    def lengths(self) -> Tensor:
        """Events per sequence, (B,) int64."""
        return self.mask.sum(1)

    def select(self, rows: Sequence[int] | np.ndarray | Tensor) -> "EventBatch":
        """The sequences `rows`, in that order, padded no further than their longest."""
        rows = torch.as_tensor(rows, dtype=torch.int64)
        longest = int(self.lengths[rows].max()) if len(rows) else 0
        parts = (self.time, self.kind, self.count, self.mask)
        time, kind, count, mask = (part[rows, :longest] for part in parts)
        return EventBatch(time, kind, count, mask, self.end[rows])


def batch(
    frame: pl.DataFrame,
    ids: Sequence[str],
    ends: Sequence[float] | np.ndarray,
    kinds: Sequence[str],
) -> EventBatch:
    """Rows of an event table as an `EventBatch`, one sequence per id, in the order of `ids`.

    Parameters
    ----------
    frame : DataFrame
        Columns `sequence`, `time` (>= 0), `kind` and, optionally, `count` (default 1). Rows of
        other sequences than `ids` are ignored. The order of rows is irrelevant.
    ids : sequence of str
        An id without any row gives a sequence without events.
    ends : sequence of float
        End of each window, in the unit of `time`.
    kinds : sequence of str
        Names of the kinds; their position is their number.

    Raises
    ------
    InputError
        Where a column is missing, a kind is unknown, an id is twice in `ids`, a value is missing or
        out of range, or a row lies after the end of its window (it would be a leak).
    """
    ends = np.asarray(ends, dtype=np.float64)
    missing = {"sequence", "time", "kind"} - set(frame.columns)
    if missing:
        raise InputError(f"events: column {sorted(missing)[0]!r} is missing; add it.")
    if len(ends) != len(ids) or not (np.isfinite(ends) & (ends >= 0)).all():
        raise InputError("events: every sequence needs one finite, non-negative end of its window.")
    if len(set(ids)) != len(ids):
        raise InputError("events: a sequence is asked for twice; pass each once.")
    rows = pl.DataFrame(
        {"sequence": [str(i) for i in ids], "_row": np.arange(len(ids)), "_end": ends},
        schema_overrides={"sequence": pl.String},
    )
    if "count" not in frame.columns:
        frame = frame.with_columns(pl.lit(1).alias("count"))
    number = dict(zip(kinds, range(len(kinds)), strict=True))
    events = (
        frame.select(pl.col("sequence").cast(pl.String), "time", "kind", "count")
        .join(rows, on="sequence", how="inner")
        .with_columns(
            pl.col("time").cast(pl.Float64),
            pl.col("count").cast(pl.Float64),
            pl.col("kind")
            .cast(pl.String)
            .replace_strict(number, default=None, return_dtype=pl.Int64)
            .alias("_kind"),
        )
    )
    _check(events, kinds)
    # canonical order of simultaneous events: the order of the table's rows cannot matter
    events = events.sort("_row", "time", "_kind", "count")
    row = events["_row"].to_numpy()
    per_row = np.bincount(row, minlength=len(ids))
    first = np.cumsum(per_row) - per_row
    at = (row, np.arange(len(row)) - first[row])
    shape = (len(ids), int(per_row.max()) if len(ids) else 0)
    time, count = np.zeros(shape), np.zeros(shape)
    kind, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    time[at] = np.minimum(events["time"].to_numpy(), ends[row])
    kind[at] = events["_kind"].to_numpy()
    count[at] = events["count"].to_numpy()
    mask[at] = True
    return EventBatch(*(torch.from_numpy(a) for a in (time, kind, count, mask, ends.copy())))


def _check(events: pl.DataFrame, kinds: Sequence[str]) -> None:
    """Raise for the first row that cannot be used."""
    age, count = pl.col("time"), pl.col("count")
    rules = [
        (
            pl.col("_kind").is_null(),
            f"its kind is not one of {list(kinds)}; add it or drop the row",
        ),
        (~age.is_finite().fill_null(False), "its time is missing; drop the row"),
        (age < 0, "it lies before the start of its sequence; drop the row"),
        (
            age > pl.col("_end") * (1 + ROUNDING),
            "it lies after the end of its window; drop the row",
        ),
        (~(count > 0).fill_null(False) | ~count.is_finite(), "its count is not positive"),
    ]
    for broken, text in rules:
        found = events.filter(broken).head(1)
        if len(found):
            row = found.row(0, named=True)
            raise InputError(
                f"events: row of sequence {row['sequence']!r}, kind {row['kind']!r}, "
                f"time {row['time']}: {text}."
            )


def buckets(lengths: Tensor, size: int, generator: torch.Generator | None = None) -> list[Tensor]:
    """Row numbers in batches of at most `size` sequences of similar length.

    With a generator, sequences of like length are mixed and the batches come in random order.
    """
    key = torch.log1p(lengths.double())
    if generator is not None:
        key = key + 0.1 * torch.rand(len(key), generator=generator, dtype=key.dtype)
    parts = list(torch.argsort(key, stable=True).split(size))
    if generator is None:
        return parts
    return [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]


class Ties(NamedTuple):
    """The distinct times of each sequence: `G` groups of simultaneous events, padded at the end.

    `step` are the `G + 1` stretches `(0, t_1], ..., (t_n, end]`; padded ones have length 0.
    """

    time: Tensor  # (B, G) float64, padded with the end of the window
    mask: Tensor  # (B, G) bool
    group: Tensor  # (B, L) int64, the group of each event (0 on padding)
    number: Tensor  # (B, G, K) float64, events of each kind
    total: Tensor  # (B, G, K) float64, sum of their counts
    mark: Tensor  # (B, G, K) float64, sum of g(count)
    step: Tensor  # (B, G + 1) float64


def ties(events: EventBatch, n_kinds: int, marks: str) -> Ties:
    """Group simultaneous events; everything the likelihood needs of the data is in the groups."""
    B, L = events.time.shape
    before = torch.nn.functional.pad(events.time, (1, 0), value=-1.0)[:, :L]
    new = events.mask & (events.time != before)
    group = (new.cumsum(1) - 1).clamp(min=0)
    size = new.sum(1)
    G = int(size.max()) if B and L else 0
    mask = torch.arange(G)[None, :] < size[:, None]
    row = torch.arange(B)[:, None].expand(B, L)[events.mask]
    at = row * G + group[events.mask]
    time = events.end[:, None].repeat(1, G)
    time.view(-1)[at] = events.time[events.mask]
    cell = at * n_kinds + events.kind[events.mask]
    empty = torch.zeros(B * G * n_kinds, dtype=torch.float64)
    number = empty.index_add(0, cell, torch.ones(len(cell), dtype=torch.float64))
    c = events.count[events.mask]
    total, mark = empty.index_add(0, cell, c), empty.index_add(0, cell, weight(c, marks))
    edges = torch.cat([torch.zeros(B, 1, dtype=torch.float64), time, events.end[:, None]], 1)
    shape = (B, G, n_kinds)
    parts = (number.view(shape), total.view(shape), mark.view(shape))
    return Ties(time, mask, group, *parts, step=edges.diff(dim=1))


def weight(count: Tensor, marks: str) -> Tensor:
    """`g(c)`, the weight of an event of count `c`: `log2(1 + c)` or `c`."""
    return torch.log2(1 + count) if marks == "log" else count
