"""Text tables as people have them: encodings, delimiters, quotes, numbers and times as text."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from m3tr.data.tables import TEXT_COLUMNS, as_time
from m3tr.errors import InputError

SEPARATORS = ",;\t"
TOO_MANY = "more fields than the header names"
_MISSING = ("", "na", "n/a", "nan", "null", "none", "-")


@dataclass(frozen=True)
class Table:
    """A table as its file holds it.

    Attributes
    ----------
    frame : DataFrame
        All columns text, blank cells null (a CSV), or as the parquet file types them.
    rows : Series of int
        Row of the file, from 0 behind the header, for each row of `frame`.
    torn : Series of int
        Rows that have more fields than the header.
    notes : dict
        What had to be guessed: encoding, separator, quotes.
    """

    frame: pl.DataFrame
    rows: pl.Series
    torn: pl.Series
    notes: dict[str, str]


def decode(raw: bytes) -> tuple[str, str]:
    """Text of a file, with ``\\n`` line ends and without a byte order mark, and its encoding.

    UTF-8 (also with a few broken bytes, which become U+FFFD), UTF-16, GB 18030 where
    bytes above 127 come in runs, else Latin-1 (as Windows writes it).
    """
    text, name = _decode(raw)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), name


def _decode(raw: bytes) -> tuple[str, str]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace"), "utf-16"
    odd, even = raw[1:400:2], raw[:400:2]
    for name, zeros in (("utf-16-le", odd), ("utf-16-be", even)):
        if zeros.count(0) * 2 > len(zeros):  # without its mark: every other byte is zero
            return raw.decode(name, errors="replace"), name
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text = raw.decode("utf-8", errors="replace")
    broken, foreign = text.count("\ufffd"), len(re.findall(r"[^\x00-\x7f]", text))
    if broken * 10 <= foreign:
        return text, f"utf-8 with {broken} unreadable bytes"
    runs = re.findall(rb"[\x80-\xff]+", raw)
    in_pairs = sum(len(run) for run in runs if len(run) > 1)
    # Chinese text has both bytes of its usual signs above 127, a Western one single letters
    if in_pairs * 2 > sum(map(len, runs)):
        try:
            return raw.decode("gb18030"), "gb18030"
        except UnicodeDecodeError:
            pass
    return raw.decode("cp1252", errors="replace"), "latin-1"


def separator_of(line: str) -> str:
    """The separator that occurs most often in a line outside quotes (a comma if none does)."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=lambda s: bare.count(s))


def read(path: Path) -> Table:
    """Read a delimited file with a header; every cell is text.

    Raises
    ------
    InputError
        No such file, no rows, or a column name that occurs twice.
    """
    text, encoding = decode(path.read_bytes())
    text = text.lstrip("\n")
    first = text.partition("\n")[0]
    separator = separator_of(first)
    names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"{path}: two columns are called {double!r}; rename one of them.")
    notes = {"encoding": encoding, "separator": {"\t": "tab"}.get(separator, separator)}
    quoted = text.count('"') % 2 == 0
    frame = _parse(text, names, separator, quoted)
    if frame is None or not quoted:
        # one quote too many would swallow the rows up to the next
        notes["quotes"] = "unbalanced: every line was read as one row"
        frame = _parse(text, names, separator, False)
    if frame is None or frame.is_empty():
        raise InputError(f"{path}: the table has no rows; export it again with its rows.")
    # two quotes too many, far apart, look like one long cell: nothing can tell, but the user may
    inside = rf"\n(?:[^\n{separator}]*{separator}){{{max(len(names) - 1, 1)}}}"
    swallowing = frame.select(pl.any_horizontal(pl.all().str.contains(inside)).sum()).item()
    if swallowing:
        notes["cells_with_rows_inside"] = str(swallowing)
    blank = pl.all().str.strip_chars().str.len_chars() == 0
    frame = frame.with_columns(pl.when(~blank).then(pl.all()).name.keep()).with_row_index("_row")
    torn = pl.col("_more").is_not_null()
    empty = pl.all_horizontal(pl.exclude("_row").is_null())  # a blank line is no row
    good = frame.filter(~torn & ~empty)
    return Table(
        good.drop("_row", "_more"),
        good["_row"].cast(pl.Int64),
        frame.filter(torn)["_row"].cast(pl.Int64),
        notes,
    )


def _parse(text: str, names: list[str], separator: str, quoted: bool) -> pl.DataFrame | None:
    try:
        return pl.read_csv(
            io.BytesIO(text.encode()),
            separator=separator,
            has_header=False,
            skip_rows=1,
            schema=dict.fromkeys([*names, "_more"], pl.String),
            missing_columns="insert",
            extra_columns="ignore",
            truncate_ragged_lines=True,
            quote_char='"' if quoted else None,
        )
    except pl.exceptions.NoDataError:
        return pl.DataFrame(schema=[*names, "_more"])
    except pl.exceptions.PolarsError:
        return None


def typed(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Give the text columns of a videos table their types.

    `published_at` and covariates `x_at` become times where they can be read as such, other columns
    numbers or booleans where every cell is one; identifiers and texts stay text.
    """
    columns = []
    for series in frame:
        if series.dtype != pl.String or series.name in ("video_id", "duration", *TEXT_COLUMNS):
            columns.append(series)
        elif series.name == "published_at":
            columns.append(times(series))
        elif series.name.endswith("_at"):
            columns.append(_times_or_text(series, path))
        else:
            columns.append(_inferred(series))
    return pl.DataFrame(columns)


def times(series: pl.Series) -> pl.Series:
    """Integer epochs where most cells are digits, else the text (`tables.as_time` reads both)."""
    if series.dtype != pl.String:
        return series
    known = series.drop_nulls().str.strip_chars()
    digits = known.str.contains(r"^\d{9,17}(\.\d+)?$")
    if known.is_empty() or digits.mean() < 0.5:  # type: ignore[operator]
        return series
    return series.str.strip_chars().cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)


def numbers(series: pl.Series) -> pl.Series:
    """Float64 or Int64; a blank cell is null and an unreadable one NaN, so that it can be told."""
    if series.dtype != pl.String:
        return series
    text = series.str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == series.null_count():
        return whole
    number = text.cast(pl.Float64, strict=False)
    return number.set(number.is_null() & series.is_not_null(), float("nan"))


def _times_or_text(series: pl.Series, path: Path) -> pl.Series:
    try:
        return as_time(times(series), path)
    except InputError:
        return series


def _inferred(series: pl.Series) -> pl.Series:
    text = series.str.strip_chars()
    lower = text.str.to_lowercase()
    text = text.set(lower.is_in(_MISSING), None)
    known = text.drop_nulls()
    # 007 is a name, not a number
    if not known.str.contains(r"^[+-]?0\d").any():
        for dtype in (pl.Int64, pl.Float64):
            number = text.cast(dtype, strict=False)
            if number.null_count() == text.null_count():
                return number
    if known.str.to_lowercase().is_in(["true", "false"]).all():
        return lower == "true"
    return series
