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
    windows = pl.DataFrame(
        {"sequence": [str(i) for i in ids], "_row": np.arange(len(ids)), "start": 0.0, "end": ends},
        schema_overrides={"sequence": pl.String, "_row": pl.Int64},
    )
    if "count" not in frame.columns:
        frame = frame.with_columns(pl.lit(1).alias("count"))
    texts, reals = pl.col("sequence", "kind"), pl.col("time", "count")
    rows = frame.select(texts.cast(pl.String), reals.cast(pl.Float64)).with_row_index("_at")
    rows = rows.join(windows, on="sequence", how="inner", maintain_order="left")
    check_rows(rows, kinds)
    check_windows(rows)
    order = ["_row", "time", "_kind", "count"]
    number = dict(zip(kinds, range(len(kinds)), strict=True))
    kind = pl.col("kind").replace_strict(number, return_dtype=pl.Int64)
    rows = rows.with_columns(kind.alias("_kind")).sort(order)
    row, time, kinds_, count = (rows[name].to_numpy() for name in order)
    return padded(row, time, kinds_, count, ends)


def padded(
    row: np.ndarray, time: np.ndarray, kind: np.ndarray, count: np.ndarray, ends: np.ndarray
) -> EventBatch:
    """Checked events, ascending by row, time, kind and count, as one batch of `len(ends)` rows.

    That order is canonical for simultaneous events: the order of a table's rows cannot matter.
    """
    per_row = np.bincount(row, minlength=len(ends))
    first = np.cumsum(per_row) - per_row
    at = (row, np.arange(len(row)) - first[row])
    shape = (len(ends), int(per_row.max()) if len(ends) else 0)
    times, counts = np.zeros(shape), np.zeros(shape)
    kinds, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    times[at] = np.minimum(time, ends[row])
    kinds[at], counts[at], mask[at] = kind, count, True
    return EventBatch(*(torch.from_numpy(a) for a in (times, kinds, counts, mask, ends.copy())))


def check_rows(events: pl.DataFrame, kinds: Sequence[str]) -> None:
    """Raise for the first row that can be used in no window.

    `sequence`, `time`, `kind`, `count` and `_at`, the number of the row in the user's frame.
    """
    kind, time, count = (pl.col(name) for name in ("kind", "time", "count"))
    unknown = ~kind.cast(pl.String).is_in(list(kinds))
    unusable = count.is_null() | ~(count.is_finite() & (count > 0))
    rules = [
        (pl.col("sequence").is_null(), "its sequence is missing; name it or drop the row"),
        (kind.is_null(), "its kind is missing; name it or drop the row"),
        (unknown, f"its kind is not one of {list(kinds)}; drop the row or name the kind"),
        (time.is_null(), "its time is missing; drop the row"),
        (~time.is_finite(), "its time is not a finite number; drop the row"),
        (unusable, "its count is not positive; drop it"),
    ]
    for broken, text in rules:
        refuse(events, broken, text)


def check_windows(rows: pl.DataFrame) -> None:
    """Raise for the first event outside its window, from `start` to `end`."""
    time, start, end = (pl.col(name) for name in ("time", "start", "end"))
    late = time - start > (end - start) * (1 + ROUNDING)
    before = "it lies before the start of its window; drop it or start the window earlier"
    refuse(rows, start.is_null(), "its sequence has no window; add one or drop the row")
    refuse(rows, time < start, before)
    refuse(rows, late, "it lies after the end of its window; drop it or end the window later")


def refuse(events: pl.DataFrame, broken: pl.Expr, text: str) -> None:
    """Raise for the first row that is broken, named by its number, counted from 0."""
    found = events.filter(broken).head(1)
    if len(found):
        row = found.row(0, named=True)
        raise InputError(
            f"events: row {row['_at']} (sequence {row['sequence']!r}, time {row['time']}, kind "
            f"{row['kind']!r}): {text}."
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
