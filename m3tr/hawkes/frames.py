"""Frames of events and of windows, checked, as padded tensors, and results as frames again.

Events are rows `(sequence, time, kind[, count])` in any unit of time, windows rows `(sequence,
end[, start])`. Ids and kinds are strings or integers and come back as they were given.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from m3tr.errors import InputError
from m3tr.hawkes.arguments import integer, is_integer, length, numbers
from m3tr.hawkes.events import EventBatch, check_rows, check_windows, padded, refuse

Kinds = list[str] | list[int]
# absolute times (years since 1970, say) of sequences that were taken to start at 0
ABSOLUTE, ENOUGH = 1000.0, 10


@dataclass(frozen=True)
class Sample:
    """Sequences of events in their windows; `B` sequences, `N` events."""

    ids: pl.Series  # (B,) as given
    start: np.ndarray  # (B,) start of each window, where its clock is 0
    events: EventBatch  # times since the start of each window
    rows: pl.DataFrame  # (N,) sequence, time, kind, count as given; _row of N and _at in the frame

    def __len__(self) -> int:
        return len(self.ids)

    def repeated(self, each: int) -> pl.Series:
        """Every id `each` times."""
        return self.ids.gather(np.repeat(np.arange(len(self)), each))


def read(frame: pl.DataFrame, windows: pl.DataFrame | None, kinds: Kinds) -> Sample:
    """The sequences of a frame.

    Parameters
    ----------
    frame : DataFrame
        Columns `sequence`, `time`, `kind` and, optionally, `count` (positive; default 1).
    windows : DataFrame, optional
        Columns `sequence`, `end` and, optionally, `start` (default 0). A sequence without events
        is one that was watched in vain. Default: from 0 to the last event of each sequence.
    kinds : list
        The kinds, in the order of their numbers.

    Raises
    ------
    InputError
        Where a column, a row or a window cannot be used; the sentence names the row,
        counted from 0.
    """
    events = _columns(frame, "events", ("sequence", "time", "kind"))
    if "count" not in events.columns:
        events = events.with_columns(pl.lit(1.0).alias("count"))
    events = events.with_columns(_number(events, "time"), _number(events, "count"))
    # what else a frame holds must not meet the columns that are added here
    events = events.select("sequence", "time", "kind", "count").with_row_index("_at")
    check_rows(events, [str(k) for k in kinds])
    table = _windows(windows) if windows is not None else _spans(events)
    keys = table["sequence"].cast(pl.String).alias("_key")
    number = table.select(keys, "start", "end", pl.int_range(pl.len()).alias("_row"))
    rows = events.with_columns(pl.col("sequence").cast(pl.String).alias("_key"))
    rows = rows.join(number, on="_key", how="left", maintain_order="left")
    check_windows(rows)
    names = {str(k): i for i, k in enumerate(kinds)}
    kind = pl.col("kind").cast(pl.String).replace_strict(names, return_dtype=pl.Int64)
    order = ["_row", "_from_start", "_kind", "count"]
    since = (pl.col("time") - pl.col("start")).alias("_from_start")
    rows = rows.with_columns(since, kind.alias("_kind")).sort(order)
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    row, since_start, kinds_, count = (rows[name].to_numpy() for name in order)
    batch = padded(row, since_start, kinds_, count, end - start)
    ids = table["sequence"]
    if len(frame):  # the type of the events' ids, where there are any
        ids = _as_given(ids, events["sequence"].dtype)
    kept = rows.select("sequence", "time", "kind", "count", "_row", "_at")
    return Sample(ids, start, batch, kept)


def kinds_of(frame: pl.DataFrame) -> Kinds:
    """The distinct kinds of a frame of events, sorted."""
    found = _columns(frame, "events", ("kind",))["kind"].drop_nulls().unique().sort()
    return list(found.to_list())


def checked_kinds(kinds: Any) -> Kinds:
    """Kinds that a caller names: distinct, all strings or all integers."""
    given = list(kinds) if isinstance(kinds, Iterable) and not isinstance(kinds, str) else []
    if given and all(isinstance(k, str) for k in given):
        found: Kinds = [str(k) for k in given]
    elif given and all(is_integer(k) for k in given):
        found = [operator.index(k) for k in given]
    else:
        raise InputError(f"kinds: {kinds!r} must be a list of strings or integers, at least one.")
    if len(set(found)) != len(found):
        raise InputError(f"kinds: {found} name one kind twice; name each once.")
    return found


def kind_column(kinds: Kinds, number: np.ndarray) -> pl.Series:
    """The kinds of the given numbers, as a column `kind`."""
    return pl.Series("kind", kinds).gather(np.asarray(number, dtype=np.int64))


def times_of(times: Any, sample: Sample) -> torch.Tensor:
    """(Q,) times, each in every sequence, as (B, Q) times since the start of each window."""
    asked = numbers(times, "times")
    since = asked[None, :] - sample.start[:, None]
    if (since < 0).any():
        row, column = (int(i[0]) for i in np.nonzero(since < 0))
        raise InputError(
            f"times: {asked[column]} lies before the start {sample.start[row]} of sequence "
            f"{sample.ids[row]!r}; ask for later times."
        )
    return torch.from_numpy(since)


def numbered(number: Any, end: Any) -> pl.DataFrame:
    """Windows of sequences `0, 1, ...`, all from 0 to `end`."""
    n = integer(number, "windows: a frame or a number of sequences is needed")
    if n < 1 or end is None:
        raise InputError("windows: a number of sequences, 1 or more, needs an end too.")
    ids = pl.Series("sequence", np.arange(n))
    return pl.DataFrame([ids, pl.repeat(length(end, "end"), n, eager=True).alias("end")])


def _columns(frame: Any, what: str, names: tuple[str, ...]) -> pl.DataFrame:
    """The frame with ids and kinds as strings or integers."""
    if isinstance(frame, pl.LazyFrame):
        raise InputError(f"{what}: this is a lazy frame; call .collect() on it first.")
    if not isinstance(frame, pl.DataFrame):
        raise InputError(
            f"{what}: a polars DataFrame is needed, not {type(frame).__name__}; "
            "polars.from_pandas and polars.DataFrame make one."
        )
    for name in names:
        if name not in frame.columns:
            raise InputError(
                f"{what}: column {name!r} is missing among {frame.columns}; add or rename it."
            )
    for name in {"sequence", "kind"} & set(names):
        frame = frame.with_columns(frame[name].cast(_plain(frame[name], what)))
    return frame


def _plain(column: pl.Series, what: str) -> Any:
    """The type in which ids and kinds come back."""
    if column.dtype.is_integer() or column.dtype == pl.String:
        return column.dtype
    if column.dtype in (pl.Categorical, pl.Enum, pl.Null):
        return pl.String
    raise InputError(
        f"{what}: column {column.name!r} is {column.dtype}; cast it to strings or integers."
    )


def _as_given(ids: pl.Series, dtype: Any) -> pl.Series:
    """Ids of windows in the type of the events' ids."""
    found = ids.cast(dtype, strict=False)
    lost = (found.cast(pl.String) != ids.cast(pl.String)).fill_null(True)
    if lost.any():
        raise InputError(
            f"windows: sequence {ids.filter(lost)[0]!r} is no {dtype}, as the ids of the events "
            "are; cast both to one type."
        )
    return found


def _number(frame: pl.DataFrame, name: str, what: str = "events") -> pl.Series:
    """A column of numbers as float64."""
    column = frame[name]
    if column.dtype.is_numeric() or (column.dtype == pl.Null and not len(column)):
        return column.cast(pl.Float64)
    if column.dtype in (pl.Datetime, pl.Date):
        raise InputError(
            f"{what}: column {name!r} is {column.dtype}; subtract the start of each sequence and "
            f"make it a number, for example (pl.col({name!r}) - start).dt.total_seconds()."
        )
    if column.dtype == pl.Duration:
        raise InputError(
            f"{what}: column {name!r} is a duration; make it a number of one unit, for example "
            f"pl.col({name!r}).dt.total_microseconds() / 1e6 for seconds."
        )
    raise InputError(f"{what}: column {name!r} is {column.dtype}; numbers of one unit are needed.")


def _windows(windows: Any) -> pl.DataFrame:
    """(sequence, start, end), checked."""
    table = _columns(windows, "windows", ("sequence", "end"))
    if "start" not in table.columns:
        table = table.with_columns(pl.lit(0.0).alias("start"))
    table = table.select("sequence", "start", "end").with_columns(
        _number(table, "start", "windows"), _number(table, "end", "windows")
    )
    start, end = pl.col("start"), pl.col("end")
    finite = start.is_finite().fill_null(False) & end.is_finite().fill_null(False)
    rules = [
        (pl.col("sequence").is_null(), "its sequence is missing"),
        (~finite, "its start or end is missing or not a finite number"),
        (end < start, "it ends before it starts"),
        (~pl.col("sequence").is_first_distinct(), "its sequence has a window already"),
    ]
    for broken, text in rules:
        found = table.with_row_index("_at").filter(broken).head(1)
        if len(found):
            row = found.row(0, named=True)
            raise InputError(
                f"windows: row {row['_at']} (sequence {row['sequence']!r}, from {row['start']} to "
                f"{row['end']}): {text}; keep one window a sequence, with start <= end."
            )
    if not len(table):
        raise InputError("windows: the frame has no rows; name the sequences that were watched.")
    return table


def _spans(events: pl.DataFrame) -> pl.DataFrame:
    """Windows from 0 to each sequence's last event, in the order of the ids."""
    if not len(events):
        raise InputError(
            "events: the frame has no rows; pass events, or windows that say what was watched."
        )
    refuse(events, pl.col("time") < 0, "its time is negative; drop it, or pass windows with start")
    time = pl.col("time")
    table = events.group_by("sequence").agg(
        time.min().alias("first"), time.max().alias("end"), time.n_unique().alias("n")
    )
    far = pl.col("first") > ABSOLUTE * (pl.col("end") - pl.col("first"))
    found = table.filter(far & (pl.col("n") >= ENOUGH)).sort("sequence").head(1)
    if len(found):
        row = found.row(0, named=True)
        raise InputError(
            f"events: sequence {row['sequence']!r} runs from {row['first']} to {row['end']}, long "
            "after 0; subtract its start from its times, or pass windows with a column start."
        )
    return table.sort("sequence").select("sequence", pl.lit(0.0).alias("start"), "end")
