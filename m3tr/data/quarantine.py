"""Dirty rows are set aside with a reason and a remedy; good rows survive (docs/data.md)."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from m3tr.data.settings import QualitySettings
from m3tr.data.tables import EMBEDDINGS, FEEDBACK_COLUMNS, as_text, vector_lengths
from m3tr.errors import InputError

SCHEMA = {
    "table": pl.String,
    "row": pl.Int64,
    "video_id": pl.String,
    "reason": pl.String,
    "remedy": pl.String,
}
# sums of counts stay exact in 64 bits
MAX_COUNT = 10**12

OF_REJECTED_VIDEO = "its video is in quarantine"
NO_COUNTER = "no counter of the target kind"

REMEDIES = {
    "video_id is missing": "fill in video_id",
    "video_id is a duplicate": "keep one row per video (the first was kept)",
    "published_at is missing or unreadable": "fill in published_at as an ISO 8601 time",
    "media path leaves the data folder": "name the media file relative to the data folder",
    "embedding of another length": "encode every video with the same encoder",
    "embedding holds a missing or infinite number": "encode the video again, or leave it null",
    "time is missing or unreadable": "fill in time as an ISO 8601 time",
    "kind is missing": "fill in the kind of feedback",
    "count is missing": "fill in the count, or leave the whole column out (every row is then 1)",
    "count is negative": "write increases, not differences of a counter that fell",
    "count is zero": "leave out rows without feedback",
    "count is not a whole number": "write whole counts",
    "count is above 10^12": "check the unit of count",
    "video_id is not in the videos table": "add the video, or leave out its feedback",
    OF_REJECTED_VIDEO: "repair the video's own row",
    "time is before publication": "check published_at and the time zone of both tables",
    "value is missing": "leave out snapshots without a value",
    "value is negative": "write the counter as the platform showed it",
    "value is not a whole number": "write the counter as the platform showed it",
    "value is above 10^12": "check the unit of value",
    "duplicate snapshot": "keep one value per video, time and kind (the first was kept)",
    NO_COUNTER: "add its snapshots, or leave the video out",
    "more fields than the header names": "put quotes around cells that hold the separator",
    # the text files of the MicroLens dataset
    "row is unreadable": "write the number of the item, the separator, then the value",
    "item is missing or unreadable": "write the number of the item",
    "item is a duplicate": "keep one row per item (the first was kept)",
    "interaction is a duplicate": "keep one row per user, item and time (the first was kept)",
    "item has no interactions": "nothing to do: it cannot be forecast without feedback",
    "likes or views are missing": "download the file again",
    "likes or views are unreadable": "write numbers, with the unit 万 where it is meant",
    "likes or views lost their unit": "a fraction of a view is none: write 万 behind the number",
    "likes or views have their unit twice": "download the corrected file of January 2025",
    "likes are above views": "nothing to do: an anomaly of the platform",
}


def empty() -> pl.DataFrame:
    """Return a quarantine without rows: table, row, video_id, reason, remedy."""
    return pl.DataFrame(schema=SCHEMA)


def imported(path: Path) -> pl.DataFrame:
    """What an import set aside before, if anything; InputError where it cannot be read."""
    if not path.exists():
        return empty()
    try:
        return pl.read_parquet(path, glob=False).select(*SCHEMA).cast(pl.Schema(SCHEMA))
    except (pl.exceptions.PolarsError, OSError):
        raise InputError(
            f"{path}: this is not the quarantine that an import writes; import again, or remove it."
        ) from None


def set_aside(
    frame: pl.DataFrame, table: str, reason: pl.Expr
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide a frame that has a column `_row` into good rows and quarantine rows.

    Parameters
    ----------
    frame : DataFrame
        With `_row` (0-based row of the source file) and `video_id`.
    table : str
        Name under which the rows are filed.
    reason : Expr
        String, null for a good row; one of `REMEDIES`.
    """
    judged = frame.with_columns(reason.alias("_reason"))
    bad = judged.filter(pl.col("_reason").is_not_null())
    if bad.is_empty():
        return frame, empty()
    filed = bad.select(
        pl.lit(table).alias("table"),
        pl.col("_row").cast(pl.Int64).alias("row"),
        "video_id",
        pl.col("_reason").alias("reason"),
        pl.col("_reason").replace_strict(REMEDIES, return_dtype=pl.String).alias("remedy"),
    )
    return judged.filter(pl.col("_reason").is_null()).drop("_reason"), filed


def first_of(*faults: tuple[pl.Expr, str]) -> pl.Expr:
    """Reason of the first fault that holds, else null."""
    return pl.coalesce([pl.when(fault).then(pl.lit(reason)) for fault, reason in faults])


def number_faults(column: str, *, zero_is_a_fault: bool) -> tuple[tuple[pl.Expr, str], ...]:
    """Faults of a count or counter column (Int64 or Float64): missing, negative, broken, huge."""
    value = pl.col(column)
    number = value.cast(pl.Float64)
    faults = [
        (value.is_null() | number.is_nan(), f"{column} is missing"),
        (value < 0, f"{column} is negative"),
        (value > MAX_COUNT, f"{column} is above 10^12"),
        (number != number.floor(), f"{column} is not a whole number"),
    ]
    if zero_is_a_fault:
        faults.append((value == 0, f"{column} is zero"))
    return tuple(faults)


def blank(column: str) -> pl.Expr:
    """Null, empty or only white space."""
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")


def clean_videos(videos: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide the videos table (`read_videos`) into good rows and quarantine rows."""
    frame = videos.with_row_index("_row")
    faults = [
        (blank("video_id"), "video_id is missing"),
        (pl.col("published_at").is_null(), "published_at is missing or unreadable"),
    ]
    if "media" in frame.columns:
        frame = frame.with_columns(pl.when(~blank("media")).then(pl.col("media")).alias("media"))
        outside = pl.col("media").str.contains(r"^([/\\~]|[A-Za-z]:)|(^|[/\\])\.\.([/\\]|$)")
        faults.append((outside, "media path leaves the data folder"))
    for name in (c for c in EMBEDDINGS if c in frame.columns):
        lengths, usual = vector_lengths(frame[name])
        # an empty list is an absent vector, like a null
        frame = frame.with_columns(frame[name].set(lengths.is_null(), None))
        faults += [
            (pl.col(name).list.len() != usual, "embedding of another length"),
            (
                ~pl.col(name).list.eval(pl.element().is_finite().fill_null(False)).list.all(),
                "embedding holds a missing or infinite number",
            ),
        ]
    frame, rejected = set_aside(frame, "videos", first_of(*faults))
    frame, doubles = set_aside(
        frame,
        "videos",
        first_of((~pl.col("video_id").is_first_distinct(), "video_id is a duplicate")),
    )
    return frame.drop("_row"), pl.concat([rejected, doubles]).sort("row", maintain_order=True)


def video_faults(frame: pl.DataFrame, videos: pl.DataFrame, rejected: pl.Series) -> pl.DataFrame:
    """Join `published_at` and `_rejected` (its video is in quarantine) to rows with a time."""
    known = videos.select("video_id", "published_at")
    gone = pl.DataFrame({"video_id": rejected}).unique().drop_nulls()
    gone = gone.with_columns(pl.lit(True).alias("_rejected"))
    joined = frame.join(known, on="video_id", how="left", maintain_order="left")
    return joined.join(gone, on="video_id", how="left", maintain_order="left")


TIME_FAULTS = (
    (blank("video_id"), "video_id is missing"),
    (pl.col("time").is_null(), "time is missing or unreadable"),
    (blank("kind"), "kind is missing"),
)
VIDEO_FAULTS = (
    (pl.col("published_at").is_null() & pl.col("_rejected").is_not_null(), OF_REJECTED_VIDEO),
    (pl.col("published_at").is_null(), "video_id is not in the videos table"),
    (pl.col("time") < pl.col("published_at"), "time is before publication"),
)


def clean(
    videos: pl.DataFrame, feedback: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Divide both tables, as read by `m3tr.data.tables`, into good rows and a quarantine.

    Returns
    -------
    videos : DataFrame
        Good rows, sorted by (published_at, video_id).
    feedback : DataFrame
        Good rows with an Int64 `count` of at least 1, sorted by (video_id, time, kind).
    quarantine : DataFrame
        `table`, `row` (0-based, in the source file), `video_id`, `reason`, `remedy`.
    """
    good, bad_videos = clean_videos(videos)
    frame = video_faults(feedback.with_row_index("_row"), good, bad_videos["video_id"])
    faults = (*TIME_FAULTS, *number_faults("count", zero_is_a_fault=True), *VIDEO_FAULTS)
    frame, bad_feedback = set_aside(frame, "feedback", first_of(*faults))
    frame = frame.select(FEEDBACK_COLUMNS).with_columns(pl.col("count").cast(pl.Int64))
    return (
        good.sort("published_at", "video_id"),
        # the count, too: the order must not depend on the order of the file
        frame.sort("video_id", "time", "kind", "count"),
        pl.concat([bad_videos, bad_feedback]),
    )


def enforce(
    quarantine: pl.DataFrame,
    n_rows: Mapping[str, int],
    settings: QualitySettings,
    *,
    files: Mapping[str, str] | None = None,
    where: Path | str = "artifacts/tables/rejected.parquet",
) -> None:
    """Stop where more of a table is in quarantine than `max_quarantined` allows.

    Feedback that is only there because its video is does not count: the video does.

    Parameters
    ----------
    quarantine : DataFrame
    n_rows : mapping
        Rows of each table's source file, by table name.
    files : mapping, optional
        The source file of each table, for the message; by default ``data/<table>.parquet``.
    where : path
        Where the quarantine lies, for the message.

    Raises
    ------
    InputError
    """
    own = quarantine.filter(pl.col("reason") != OF_REJECTED_VIDEO)
    for table, total in n_rows.items():
        bad = own.filter(pl.col("table") == table)
        if bad.height <= settings.max_quarantined * total:
            continue
        first = bad.sort("row").row(0, named=True)
        name = (files or {}).get(table, f"data/{table}.parquet")
        raise InputError(
            f"{name}: {bad.height} of {total} rows ({bad.height / total:.1%}) are unusable, more "
            f"than quality.max_quarantined = {settings.max_quarantined:g}; the first is row "
            f"{first['row']} ({first['reason']}): {first['remedy']}; all are listed in {where}."
        )


def with_media(rejected: pl.DataFrame, broken: pl.DataFrame, source: Path) -> pl.DataFrame:
    """All broken items in one table: rejected rows, then what the extraction set aside.

    Parameters
    ----------
    rejected, broken : DataFrame
        With the columns of a quarantine. The rows of `broken` count in the clean videos table;
        in the result they count in the source file.
    source : Path
        The videos table as it came.

    Raises
    ------
    InputError
        Where media are broken and the source cannot be read.
    """
    if broken.is_empty():
        return rejected
    try:
        ids = as_text(pl.read_parquet(source, columns=["video_id"], glob=False)["video_id"], source)
    except (pl.exceptions.PolarsError, OSError):
        raise InputError(f"{source} is missing or damaged: put the table there again") from None
    rows = pl.DataFrame({"video_id": ids}).with_row_index("row").cast({"row": pl.Int64})
    gone = rejected.filter(pl.col("table") == "videos")
    # of a repeated id, the row that was not rejected
    kept = rows.join(gone, on=["video_id", "row"], how="anti", maintain_order="left")
    first = pl.concat([kept, rows]).unique("video_id", keep="first")
    filed = broken.drop("row").join(first, on="video_id", how="left", maintain_order="left")
    return pl.concat([rejected, filed.select(*SCHEMA).sort("row", maintain_order=True)])


def enforce_media(
    broken: pl.DataFrame, n_videos: int, settings: QualitySettings, *, where: Path | str
) -> None:
    """Stop where the media of more videos are set aside than `max_missing_media` allows.

    Parameters
    ----------
    broken : DataFrame
        Quarantine rows of media, in the order of the source file.
    n_videos : int
        Videos of the clean table.
    settings : QualitySettings
    where : path
        Where the quarantine lies, for the message.

    Raises
    ------
    InputError
    """
    bad = broken["video_id"].n_unique()
    if bad <= settings.max_missing_media * n_videos:
        return
    first = broken.row(0, named=True)
    raise InputError(
        f"data/videos.parquet: {bad} of {n_videos} videos ({bad / n_videos:.1%}) have unusable "
        f"media, more than quality.max_missing_media = {settings.max_missing_media:g}; the first "
        f"is row {first['row']}, video {first['video_id']} ({first['reason']}): "
        f"{first['remedy']}; all are listed in {where}."
    )


def counts(quarantine: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows in quarantine by table and reason, for a report."""
    figures: dict[str, dict[str, int]] = {}
    rows = quarantine.group_by("table", "reason").len().sort("table", "len", "reason")
    for table, reason, n in rows.iter_rows():
        figures.setdefault(table, {})[reason] = n
    return figures


def sizes(quarantine: pl.DataFrame) -> dict[str, int]:
    """Rows in quarantine by table; reasons that name files are too many to count apart."""
    return dict(quarantine.group_by("table").len().sort("table").iter_rows())
