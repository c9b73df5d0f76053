"""The two tables of a dataset: columns, types, units, and how their files are read.

A fault of the table as a whole raises `InputError`; a fault of single rows is left in place (as a
null, a NaN or a bad value) for `m3tr.data.quarantine.clean` to set aside. See docs/data.md.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from m3tr.errors import InputError

TIME = pl.Datetime("us", "UTC")
TEXT_COLUMNS = ("title", "description", "category", "language", "creator_id", "media")
EMBEDDINGS = ("emb_visual", "emb_audio", "emb_text")
FEEDBACK_COLUMNS = ("video_id", "time", "kind", "count")

# integer epochs between the years 2000 and 2100: the three ranges do not meet
_EPOCHS = {"s": 1, "ms": 1_000, "us": 1_000_000}
_EPOCH_RANGE = (946_684_800, 4_102_444_800)
_ISO_DURATION = (
    r"^P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?$"
)


def read_parquet(path: Path) -> pl.DataFrame:
    """Read a parquet file that is not empty, in its own row order.

    Raises
    ------
    InputError
        The file is missing, is no parquet file, or has no rows.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; put the table there or name another folder.")
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path}: this is not a readable parquet file; write it again, for example with "
            f"DataFrame.write_parquet (the reader said: {_first_line(error)})."
        ) from None
    if frame.is_empty():
        raise InputError(f"{path}: the table has no rows; export it again with its rows.")
    return frame


def read_videos(path: Path, drop: Sequence[str] = ()) -> pl.DataFrame:
    """Read the videos table (docs/data.md) in canonical types; rows are kept as they come.

    Parameters
    ----------
    path : Path
    drop : sequence of str
        Columns to leave out, whatever their type.

    Returns
    -------
    DataFrame
        One row per row of the file: `video_id`, `published_at`, then the other columns.
        A datetime covariate `x_at` becomes `x_age_days`, its age in days at publication.

    Raises
    ------
    InputError
        A column is missing or has a type that cannot be cast without loss.
    """
    return videos_table(read_parquet(path), path, drop)


def videos_table(frame: pl.DataFrame, path: Path, drop: Sequence[str] = ()) -> pl.DataFrame:
    """Give a videos table its canonical types, as `read_videos` does; `path` is for messages."""
    require(frame, ("video_id", "published_at", *drop), path)
    needed = [c for c in drop if c in ("video_id", "published_at")]
    if needed:
        raise InputError(f"{path}: the column {needed[0]!r} is needed and cannot be dropped.")
    frame = frame.drop(drop)
    frame = frame.with_columns(
        as_text(frame["video_id"], path), as_time(frame["published_at"], path)
    )
    frame = _durations(frame, path)
    fixed = ("video_id", "published_at")
    columns: list[pl.Series] = [frame[c] for c in fixed]
    for series in frame.select(pl.exclude(fixed)):
        name = series.name
        if name in TEXT_COLUMNS:
            columns.append(as_text(series, path))
        elif name in EMBEDDINGS:
            columns.append(_as_vectors(series, path))
        elif isinstance(series.dtype, pl.Datetime | pl.Date):
            columns.append(_age_at_publication(series, frame["published_at"], path))
        else:
            columns.append(_as_covariate(series, path))
    names = [series.name for series in columns]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"{path}: two columns give {double!r}; rename or drop one of them.")
    return pl.DataFrame(columns)


def read_feedback(path: Path) -> pl.DataFrame:
    """Read the feedback table: `video_id`, `time`, `kind`, `count`; rows are kept as they come.

    A table without the column `count` is an event log: every row counts one. Other columns are
    left out. `count` stays a float where the file holds floats, so that faults can be told.

    Raises
    ------
    InputError
        A column is missing or has a type that cannot be cast without loss.
    """
    return feedback_table(read_parquet(path), path)


def feedback_table(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Give a feedback table its canonical types, as `read_feedback` does."""
    require(frame, ("video_id", "time", "kind"), path)
    if "count" not in frame.columns:
        frame = frame.with_columns(pl.lit(1, pl.Int64).alias("count"))
    return pl.DataFrame(
        [
            as_text(frame["video_id"], path),
            as_time(frame["time"], path),
            as_text(frame["kind"], path),
            as_number(frame["count"], path),
        ]
    )


def require(frame: pl.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    """Raise `InputError` where a column is missing, naming it and those that are there."""
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        there = ", ".join(frame.columns[:12])
        raise InputError(
            f"{path}: the column {missing[0]!r} is missing (there: {there}); add or rename it."
        )


def as_text(series: pl.Series, path: Path) -> pl.Series:
    """Cast text, categories and integers to strings; anything else is an `InputError`."""
    dtype = series.dtype
    if dtype == pl.String:
        return series
    if dtype.is_integer() or dtype in (pl.Categorical, pl.Enum, pl.Null):
        return series.cast(pl.String)
    raise InputError(
        f"{path}: the column {series.name!r} must hold text, not {dtype}; cast it to strings."
    )


def as_number(series: pl.Series, path: Path) -> pl.Series:
    """Cast to Int64 or Float64; what an Int64 cannot hold becomes null, a row's fault."""
    dtype = series.dtype
    if dtype.is_integer() or dtype == pl.Null:
        return series.cast(pl.Int64, strict=False)
    if dtype.is_float() or dtype.is_decimal():
        return series.cast(pl.Float64)
    raise InputError(
        f"{path}: the column {series.name!r} must hold numbers, not {dtype}; cast it to integers."
    )


def as_time(series: pl.Series, path: Path) -> pl.Series:
    """Cast to microseconds in UTC; a single unreadable value becomes null, a row's fault.

    Accepts datetimes (without a zone: UTC), dates, ISO 8601 strings, and integers that are seconds,
    milliseconds or microseconds since 1970 (told apart by their size, between 2000 and 2100).
    """
    dtype, name = series.dtype, series.name
    if isinstance(dtype, pl.Datetime):
        micro = series.dt.cast_time_unit("us")
        if dtype.time_zone is None:
            return micro.dt.replace_time_zone("UTC")
        return micro.dt.convert_time_zone("UTC")
    if dtype == pl.Date:
        return series.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if dtype == pl.String:
        parsed = _parse_iso(series)
        if parsed.null_count() == len(series) > series.null_count():
            raise InputError(
                f"{path}: the column {name!r} holds no ISO 8601 time (row 0: {series[0]!r}); "
                "write times as in 2024-01-31T18:00:00Z."
            )
        return parsed
    if dtype.is_integer():
        return _from_epoch(series, path)
    raise InputError(
        f"{path}: the column {name!r} must hold times, not {dtype}; "
        "cast it to datetimes, ISO 8601 strings or integer epochs."
    )


def _parse_iso(series: pl.Series) -> pl.Series:
    text = pl.col("t").str.strip_chars()
    # a time without a zone is UTC, like a naive datetime
    zoned = text.str.contains(r"(?i)(z|[+-]\d\d:?\d\d)$") & text.str.contains(r"\d[T ]\d")
    aware = text.str.replace(r"(?i)z$", "+00:00").str.replace(" ", "T", literal=True)
    naive = text.str.replace(" ", "T", literal=True)
    return (
        pl.DataFrame({"t": series})
        .select(
            pl.when(zoned)
            .then(aware.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False))
            .otherwise(
                pl.coalesce(
                    naive.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False),
                    naive.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False),
                    naive.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
                ).dt.replace_time_zone("UTC")
            )
            .alias(series.name)
        )
        .to_series()
    )


def _from_epoch(series: pl.Series, path: Path) -> pl.Series:
    value = series.cast(pl.Int64, strict=False)
    low, high = _EPOCH_RANGE
    within = {u: value.is_between(low * f, high * f, closed="left") for u, f in _EPOCHS.items()}
    found = [unit for unit, mask in within.items() if mask.any()]
    if len(found) != 1:
        why = "mixes units" if found else "fits no unit between the years 2000 and 2100"
        raise InputError(
            f"{path}: the column {series.name!r} holds integers whose unit is unclear ({why}); "
            "write datetimes or ISO 8601 strings instead."
        )
    mask, factor = within[found[0]], _EPOCHS[found[0]]
    micro = (value.set(~mask.fill_null(False), None) * (1_000_000 // factor)).alias(series.name)
    return micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _durations(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Turn a column `duration` ("PT13M12S" or a duration type) into `duration_s`, in seconds."""
    if "duration_s" in frame.columns:
        series = as_number(frame["duration_s"], path).cast(pl.Float64)
        return frame.with_columns(_finite(series))
    if "duration" not in frame.columns:
        return frame
    series = frame["duration"]
    if isinstance(series.dtype, pl.Duration):
        seconds = pl.col("duration").dt.total_microseconds() / 1e6
    elif series.dtype == pl.String:
        parts = pl.col("duration").str.extract_groups(_ISO_DURATION)
        seconds = sum(
            (
                parts.struct.field(field).cast(pl.Float64).fill_null(0.0) * scale
                for field, scale in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
            ),
            start=pl.lit(0.0),
        )
        seconds = pl.when(pl.col("duration").str.contains(_ISO_DURATION)).then(seconds)
        if not series.drop_nulls().is_empty() and not series.str.contains(_ISO_DURATION).any():
            return frame  # some other text: an ordinary category
    else:
        return frame  # numbers of unknown unit: an ordinary covariate
    return frame.with_columns(seconds.alias("duration_s")).drop("duration")


def _age_at_publication(series: pl.Series, published: pl.Series, path: Path) -> pl.Series:
    stem = series.name.removesuffix("_at").removesuffix("_created")
    time = as_time(series, path)
    age = (published - time).dt.total_microseconds() / 86_400e6
    # a date after the publication was not known then: using it would leak
    return age.set((age < 0).fill_null(False), None).alias(f"{stem}_age_days")


def vector_lengths(vectors: pl.Series) -> tuple[pl.Series, int]:
    """Length of every vector (null where it is absent or empty), and the dataset's own.

    That is the most frequent one (the shorter one of a tie); 0 where there is no vector.
    """
    lengths = vectors.list.len()
    lengths = lengths.set((lengths == 0).fill_null(False), None)
    usual = lengths.drop_nulls().mode().min()
    return lengths, int(usual or 0)  # type: ignore[arg-type]


def _as_vectors(series: pl.Series, path: Path) -> pl.Series:
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    inner = series.dtype.inner if isinstance(series.dtype, pl.List) else None
    if inner is None or not (inner.is_numeric() or inner == pl.Null):  # Null: all are empty
        raise InputError(
            f"{path}: the column {series.name!r} must hold lists of numbers, not {series.dtype}; "
            "write one vector per video."
        )
    return series.cast(pl.List(pl.Float32))


def _as_covariate(series: pl.Series, path: Path) -> pl.Series:
    dtype = series.dtype
    if dtype.is_float() or dtype.is_decimal():
        return _finite(series.cast(pl.Float64))
    if dtype.is_integer() or dtype in (pl.String, pl.Boolean):
        return series
    if dtype in (pl.Categorical, pl.Enum, pl.Null):
        return series.cast(pl.String)
    raise InputError(
        f"{path}: the column {series.name!r} has the type {dtype}, which is neither a number nor "
        "a category; cast it, or leave it out when importing."
    )


def _finite(series: pl.Series) -> pl.Series:
    return series.set(~series.is_finite().fill_null(False), None)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
