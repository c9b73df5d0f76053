"""Bad rows: few are set aside, too many stop the pipeline, all are listed."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from tests.bad_input.faults import (
    FEEDBACK,
    REJECTED,
    TO_DISTANT_PAST,
    VIDEOS,
    Told,
    digests,
    edit,
    on_rows,
)


class Fault(NamedTuple):
    """A file, what its rows hold from row 3 on, the quarantine's reason, its remedy's start."""

    name: str
    columns: dict[str, pl.Expr]
    reason: str
    remedy: str


ROWS = {
    "feedback before publication": Fault(
        FEEDBACK,
        {"time": TO_DISTANT_PAST},
        "time is before publication",
        "check published_at and the time zone",
    ),
    "unknown video ids": Fault(
        FEEDBACK,
        {"video_id": pl.lit("nobody")},
        "video_id is not in the videos table",
        "add the video",
    ),
    "NaN counts": Fault(
        FEEDBACK, {"count": pl.lit(float("nan"))}, "count is missing", "fill in the"
    ),
    "negative counts": Fault(
        FEEDBACK, {"count": -pl.col("count")}, "count is negative", "write incr"
    ),
    "broken counts": Fault(
        FEEDBACK, {"count": pl.lit(1.5)}, "count is not a whole number", "write who"
    ),
    "no time": Fault(
        FEEDBACK, {"time": pl.lit(None)}, "time is missing or unreadable", "fill in time"
    ),
    "duplicate ids": Fault(
        VIDEOS,
        {"video_id": pl.lit("v000000")},
        "video_id is a duplicate",
        "keep one row per video",
    ),
    "no ids": Fault(VIDEOS, {"video_id": pl.lit(" ")}, "video_id is missing", "fill in video_id"),
    "media elsewhere": Fault(
        VIDEOS,
        {"media": pl.lit("/etc/") + pl.col("video_id")},
        "media path leaves the data folder",
        "name the media file relative",
    ),
}
each_fault = pytest.mark.parametrize("fault", ROWS.values(), ids=ROWS.keys())


def test_rows_that_the_import_set_aside_count_too(
    workspace: Path, m3tr: Callable[[str], Told]
) -> None:
    from m3tr.data import quarantine

    rows = [("videos", i, f"lost{i}", "video_id is missing", "fill in video_id") for i in range(9)]
    known = pl.DataFrame(rows, schema=quarantine.SCHEMA, orient="row")
    known.head(4).write_parquet(workspace / "data/rejected.parquet")
    assert m3tr("ingest").status == 0  # 4 of 44
    known.write_parquet(workspace / "data/rejected.parquet")
    sentence = m3tr("ingest").sentence
    assert "9 of 49 rows" in sentence and "row 0 (video_id is missing)" in sentence


def test_an_import_quarantine_that_is_none(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    path = workspace / "data/rejected.parquet"
    path.write_text("x")
    assert "data/rejected.parquet" in m3tr("ingest").sentence
    pl.DataFrame({"a": [1]}).write_parquet(path)
    assert "import again, or remove it" in m3tr("ingest").sentence


@each_fault
def test_too_many_bad_rows_stop_the_pipeline(
    workspace: Path, m3tr: Callable[[str], Told], fault: Fault
) -> None:
    name, columns, reason, remedy = fault
    n = pl.read_parquet(workspace / name).height // 2
    edit(workspace, name, on_rows(n, **columns))
    before = digests(workspace)
    sentence = m3tr("ingest").sentence
    for part in (name, f"the first is row 3 ({reason})", remedy, "quality.max_quarantined = 0.1"):
        assert part in sentence
    assert REJECTED in sentence
    listed = pl.read_parquet(workspace / REJECTED).filter(pl.col("reason") == reason)
    assert listed["row"].to_list() == list(range(3, n + 3))
    assert listed["remedy"].str.starts_with(remedy).all()
    assert digests(workspace) == before
    # nothing but what was set aside
    assert [p.name for p in (workspace / "artifacts/tables").iterdir()] == ["rejected.parquet"]


@each_fault
def test_few_bad_rows_are_set_aside(
    workspace: Path, m3tr: Callable[[str], Told], fault: Fault
) -> None:
    name, columns, reason, _ = fault
    table = edit(workspace, name, on_rows(2, **columns))
    before = digests(workspace)
    told = m3tr("ingest")
    assert told.status == 0, told.err
    quarantine = pl.read_parquet(workspace / REJECTED)
    assert quarantine.filter(pl.col("reason") == reason)["row"].to_list() == [3, 4]
    # every row of the source is either kept or set aside
    file = Path(name).stem
    kept = pl.read_parquet(workspace / f"artifacts/tables/{file}.parquet")
    gone = quarantine.filter(pl.col("table") == file).height
    assert kept.height + gone == table.height
    if file == "feedback":
        good = table.with_row_index().filter(~pl.col("index").is_in([3, 4])).drop("index")
        order = ["video_id", "time", "kind", "count"]
        assert kept.sort(order).equals(good.select(order).sort(order))
    else:
        assert kept["video_id"].n_unique() == table.height - 2
    assert digests(workspace) == before


def test_several_faults_at_once(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    edit(workspace, FEEDBACK, on_rows(1, time=TO_DISTANT_PAST))
    edit(workspace, FEEDBACK, lambda t: on_rows(1, count=pl.lit(-2))(t.reverse()))
    assert m3tr("ingest").status == 0
    reasons = pl.read_parquet(workspace / REJECTED)["reason"].to_list()
    assert sorted(reasons) == ["count is negative", "time is before publication"]
