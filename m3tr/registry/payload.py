"""The served model's input: one row a video, as pandas and JSON know it, and our tables.

`payload` writes such a frame from tables, `tables` reads one. Numbers and times survive the round
trip exactly, so that a served model predicts what the pipeline predicted (docs/mlflow.md).
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from m3tr.data.tables import TEXT_COLUMNS as TEXTS
from m3tr.data.tables import TIME
from m3tr.data.windows import observed
from m3tr.errors import InputError
from m3tr.registry import cells

if TYPE_CHECKING:
    import pandas as pd

    from m3tr.features.store import Features

EMBEDDINGS = {"emb_visual": "visual", "emb_audio": "audio", "emb_text": "text"}
NUMBERS = ("duration_s",)
# columns of the request that are not columns of the videos table
EXTRA = ("feedback", "observed_at")

MICROSECONDS_A_DAY = 86_400e6


@dataclass(frozen=True)
class Request:
    """What `Forecaster.predict` takes, read from one request.

    Attributes
    ----------
    videos, feedback : DataFrame
        The two tables, in the order of the request.
    observed_at : list of datetime or None
        The clock of each video; None leaves it to the task.
    features : Features or None
        Tokens given in the request as lists of vectors.
    """

    videos: pl.DataFrame
    feedback: pl.DataFrame
    observed_at: list[datetime | None]
    features: "Features | None"


def tables(frame: "pd.DataFrame") -> Request:
    """Read a request.

    Parameters
    ----------
    frame : pandas DataFrame
        One row a video: `video_id`, `published_at`, any column of the videos table, and
        optionally `feedback` (JSON list of [age in days, kind, count]), `observed_at`, and
        `emb_visual`, `emb_audio`, `emb_text`: a vector, or a list of token vectors with null for
        a missing token. Times are ISO 8601 or timestamps; without a zone they are UTC.

    Raises
    ------
    InputError
        With one sentence that names the row, the column and the remedy.
    """
    if not len(frame):
        raise InputError("The request has no rows: send one row a video.")
    columns = {str(name): [cells.plain(v) for v in frame[name]] for name in frame.columns}
    for name in ("video_id", "published_at"):
        if name not in columns:
            raise InputError(f"The request lacks the column {name}: every video needs one.")
    ids = cells.video_ids(columns.pop("video_id"))
    where = [f"Row {row} (video {video})" for row, video in enumerate(ids)]
    nothing = [None] * len(ids)

    published_at = [
        cells.instant(v, w, "published_at")
        for v, w in zip(columns.pop("published_at"), where, strict=True)
    ]
    observed_at = [
        None if v is None else cells.instant(v, w, "observed_at")
        for v, w in zip(columns.pop("observed_at", nothing), where, strict=True)
    ]
    entries = [
        cells.feedback_entries(v, w)
        for v, w in zip(columns.pop("feedback", nothing), where, strict=True)
    ]
    embedded = {name: columns.pop(name) for name in EMBEDDINGS if name in columns}
    features = None
    if any(cells.is_tokens(v) for values in embedded.values() for v in values):
        features = _features(embedded, ids, where)
        embedded = {}
    elif "media" in columns:
        columns["media"] = list(map(cells.media_file, columns["media"], where))
    series = [
        pl.Series("video_id", ids, pl.String),
        pl.Series("published_at", published_at, TIME),
        *(_covariate(name, values, where) for name, values in columns.items()),
        *(_vectors(name, values, where) for name, values in embedded.items()),
    ]
    # a column without any value says nothing, not even its type
    videos = pl.DataFrame([s for s in series if s.null_count() < len(s)])
    return Request(videos, _feedback(entries, ids, published_at), observed_at, features)


def payload(
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    features: "Features | None" = None,
    with_clock: bool = False,
) -> "pd.DataFrame":
    """Write the request that asks for the predictions of `examples`; the inverse of `tables`.

    Parameters
    ----------
    videos, feedback, examples : DataFrame
        The three tables (docs/data.md); one row an example comes out, in the examples' order. Only
        feedback up to each example's `observed_at` enters (docs/model.md, section 2, rule 1).
    features : Features, optional
        Their tokens enter as `emb_*` columns in place of the table's own vectors; `media` then
        only tells copies apart.
    with_clock : bool
        Write each example's `observed_at`. Without it the model uses its task's clock, which
        is the same for videos of that task.

    Returns
    -------
    pandas DataFrame
        Columns of dtype object holding JSON values only.
    """
    import pandas as pd

    ids = examples["video_id"].to_list()
    rows = examples.select("video_id").join(
        videos, on="video_id", how="left", maintain_order="left"
    )
    if rows["published_at"].null_count():
        missing = rows.filter(pl.col("published_at").is_null())["video_id"][0]
        raise InputError(f"The videos table lacks video {missing} of the examples table.")
    seen = observed(feedback, examples).select("video_id", "age_days", "kind", "count")
    lists: dict[str, list[list[Any]]] = {}
    for video, *entry in seen.iter_rows():
        lists.setdefault(video, []).append(entry)
    drop = set(EMBEDDINGS) if features is not None else set()
    columns: dict[str, list[Any]] = {
        name: [_json_value(v) for v in rows[name].to_list()]
        for name in rows.columns
        if name not in drop
    }
    columns["feedback"] = [json.dumps(lists.get(video, [])) for video in ids]
    if with_clock:
        columns["observed_at"] = [_json_value(v) for v in examples["observed_at"].to_list()]
    if features is not None:
        chosen = features.select(ids)
        for name, m in EMBEDDINGS.items():
            # a modality that no video has: one token, missing
            nothing = [[None] for _ in ids]
            there = m in chosen.tokens
            columns[name] = _token_lists(chosen.tokens[m], chosen.mask[m]) if there else nothing
    return pd.DataFrame({name: pd.Series(v, dtype=object) for name, v in columns.items()})


def _feedback(
    entries: list[list[tuple[float, str, int]]], ids: list[str], published: list[datetime]
) -> pl.DataFrame:
    rows = [
        # to whole microseconds, the resolution of the feedback table
        (video, start + timedelta(microseconds=round(age * MICROSECONDS_A_DAY)), kind, count)
        for video, start, of_video in zip(ids, published, entries, strict=True)
        for age, kind, count in of_video
    ]
    schema: dict[str, Any] = {"video_id": pl.String, "time": TIME, "kind": pl.String}
    schema["count"] = pl.Int64
    return pl.DataFrame(rows, schema=schema, orient="row")


def _covariate(name: str, values: list[Any], where: list[str]) -> pl.Series:
    """Text, truth values or numbers; null where missing."""
    present = [v for v in values if v is not None]
    if name in TEXTS:
        return pl.Series(name, [None if v is None else str(v) for v in values], pl.String)
    if name not in NUMBERS and all(isinstance(v, str) for v in present):
        return pl.Series(name, values, pl.String)
    if name not in NUMBERS and all(isinstance(v, bool) for v in present):
        return pl.Series(name, values, pl.Boolean)
    numbers = [cells.finite(v, w, name) for v, w in zip(values, where, strict=True)]
    return pl.Series(name, numbers, pl.Float64)


def _vectors(name: str, values: list[Any], where: list[str]) -> pl.Series:
    width = next((len(v) for v in values if isinstance(v, list)), 0)
    for value, w in zip(values, where, strict=True):
        if value is not None:
            cells.vector(value, width, w, name)
    return pl.Series(name, values, pl.List(pl.Float32))


def _features(columns: dict[str, list[Any]], ids: list[str], where: list[str]) -> "Features":
    """Token arrays and masks of the modalities that some video has."""
    from m3tr.features.store import Features

    tokens: dict[str, np.ndarray] = {}
    mask: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        # one plain vector is one token
        rows = [v if cells.is_tokens(v) else [v] for v in values]
        width = next((len(v) for row in rows for v in row if isinstance(v, list)), 0)
        if not width:
            continue
        x = np.zeros((len(ids), max(map(len, rows)), width), np.float32)  # (N, T, D)
        present = np.zeros(x.shape[:2], bool)
        for i, row in enumerate(rows):
            for j, token in enumerate(row):
                if token is not None:
                    x[i, j] = cells.vector(token, width, where[i], name)
                    present[i, j] = True
        tokens[EMBEDDINGS[name]], mask[EMBEDDINGS[name]] = x, present
    return Features(ids=list(ids), tokens=tokens, mask=mask)


def _token_lists(x: np.ndarray, mask: np.ndarray) -> list[Any]:
    # float32 values are exact as JSON's float64
    return [
        [v.tolist() if there else None for v, there in zip(tokens, row, strict=True)]
        for tokens, row in zip(x, mask, strict=True)
    ]


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
