"""The interactions of the MicroLens dataset: one comment a row, tens of millions of rows."""

import io
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.data.quarantine import first_of, set_aside
from m3tr.data.sources.delimited import decode, separator_of
from m3tr.errors import InputError

# milliseconds from 2000 to 2100
_TIMES = (946_684_800_000, 4_102_444_800_000)
_NAMES = {
    "user": ("user", "userid", "user_id"),
    "item": ("item", "itemid", "item_id", "video", "videoid", "video_id"),
    "time": ("timestamp", "time", "timestamp_ms"),
}


def interactions(path: Path) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Read "user, item, timestamp" rows, by the names of a header or in this order.

    The file is scanned: a row is held as three integers, never as text.

    Returns
    -------
    good : DataFrame
        `item`, `time` (Int64; milliseconds since 1970).
    rejected : DataFrame
        Quarantine rows, filed under "feedback".
    figures : dict
        `interactions` (rows of the file), `users`.

    Raises
    ------
    InputError
        Fewer than three fields, no row at all, or a file that is unreadable as a whole.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    source: Path | io.BytesIO = path
    if decode(head)[1].startswith("utf-16"):
        source = io.BytesIO(decode(path.read_bytes())[0].encode())
    first = decode(head)[0].lstrip("\n").partition("\n")[0]
    separator = separator_of(first)
    cells = [cell.strip(' "').lower() for cell in first.split(separator)]
    header = not any(cell.isdigit() for cell in cells)
    if len(cells) < 3:
        raise InputError(
            f"{path}: row 0 has {len(cells)} fields instead of user, item, timestamp; "
            "download the file again."
        )
    place = _columns(cells) if header else {"user": 0, "item": 1, "time": 2}
    scan = pl.scan_csv(
        source,
        separator=separator,
        has_header=False,
        skip_rows=int(header),
        schema={str(i): pl.String for i in range(len(cells))},
        missing_columns="insert",
        extra_columns="ignore",
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        quote_char=None,  # numbers only: a stray quote must not swallow rows
        row_index_name="_row",
    )
    numbers = [_whole(str(place[name])).alias(name) for name in ("user", "item", "time")]
    blank = pl.all_horizontal(pl.col("user", "item", "time").is_null())
    try:
        frame = scan.select(pl.col("_row"), *numbers).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        said = str(error).splitlines()[0][:120]
        raise InputError(f"{path}: unreadable ({said}); download the file again.") from None
    if frame.is_empty():
        raise InputError(f"{path}: there are no interactions in it; download the file again.")
    figures = {"interactions": frame.height, "users": frame["user"].n_unique()}
    outside = ~pl.col("time").is_between(*_TIMES, closed="left")
    faults = (
        (blank, "row is unreadable"),
        (pl.col("item").is_null(), "item is missing or unreadable"),
        (pl.col("time").is_null() | outside, "time is missing or unreadable"),
    )
    good, bad = _judge(frame, first_of(*faults))
    twice = (~pl.struct("user", "item", "time").is_first_distinct(), "interaction is a duplicate")
    good, doubles = _judge(good, first_of(twice))
    return good.select("item", "time"), pl.concat([bad, doubles]).sort("row"), figures


def _columns(cells: list[str]) -> dict[str, int]:
    by_name = {n: i for n, names in _NAMES.items() for i, c in enumerate(cells) if c in names}
    return by_name if len(by_name) == 3 else {"user": 0, "item": 1, "time": 2}


def _whole(column: str) -> pl.Expr:
    text = pl.col(column).str.strip_chars('\ufeff" \r\t')
    # pandas writes whole numbers as 12.0 where a column has gaps
    return text.str.strip_suffix(".0").cast(pl.Int64, strict=False)


def _judge(frame: pl.DataFrame, reason: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
    judged = frame.with_columns(reason.alias("_why"))
    bad = judged.filter(pl.col("_why").is_not_null())
    bad = bad.with_columns(pl.col("item").cast(pl.String).alias("video_id"))
    filed = set_aside(bad, "feedback", pl.col("_why"))[1]
    return judged.filter(pl.col("_why").is_null()).drop("_why"), filed
