"""Tables of another shape, tables that are none, and too little in them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.bad_input.faults import FEEDBACK, REJECTED, VIDEOS, Change, Told, digests, edit

# file, what is done to it, what the sentence must hold beside the file's name
TABLES: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "no published_at": (
        VIDEOS,
        lambda t: t.rename({"published_at": "date"}),
        ("the column 'published_at' is missing", "add or rename it"),
    ),
    "no kind": (FEEDBACK, lambda t: t.drop("kind"), ("'kind' is missing", "add or rename it")),
    "counts are text": (
        FEEDBACK,
        lambda t: t.with_columns(pl.col("count").cast(pl.String)),
        ("the column 'count' must hold numbers, not String", "cast it to integers"),
    ),
    "times are floats": (
        FEEDBACK,
        lambda t: t.with_columns(time=pl.lit(1.5)),
        ("the column 'time' must hold times", "cast it"),
    ),
    "times are words": (
        VIDEOS,
        lambda t: t.with_columns(published_at=pl.lit("yesterday")),
        ("no ISO 8601 time (row 0: 'yesterday')", "write times as in"),
    ),
    "ids are lists": (
        VIDEOS,
        lambda t: t.with_columns(video_id=pl.concat_list("video_id")),
        ("'video_id' must hold text", "cast it to strings"),
    ),
    "no videos": (VIDEOS, lambda t: t.clear(), ("has no rows", "export it again")),
    "no feedback": (FEEDBACK, lambda t: t.clear(), ("has no rows", "export it again")),
}


@pytest.mark.parametrize(("name", "change", "words"), TABLES.values(), ids=TABLES.keys())
def test_a_table_of_another_shape(
    workspace: Path,
    m3tr: Callable[[str], Told],
    name: str,
    change: Change,
    words: tuple[str, ...],
) -> None:
    edit(workspace, name, change)
    before = digests(workspace)
    sentence = m3tr("ingest").sentence
    assert name in sentence
    assert all(part in sentence for part in words), sentence
    assert digests(workspace) == before
    assert not (workspace / "artifacts/tables").exists()


@pytest.mark.parametrize("name", [VIDEOS, FEEDBACK])
def test_no_parquet(workspace: Path, m3tr: Callable[[str], Told], name: str) -> None:
    path = workspace / name
    whole = path.read_bytes()
    pl.read_parquet(path).head(3).select("video_id").write_csv(path)
    for content in (path.read_bytes(), whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        sentence = m3tr("ingest").sentence
        assert name in sentence and "not a readable parquet file; write it again" in sentence
        assert path.read_bytes() == content


def test_no_data(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    (workspace / FEEDBACK).unlink()
    sentence = m3tr("ingest").sentence
    assert FEEDBACK in sentence and "no such file; put the table there" in sentence
    shutil.rmtree(workspace / "data")
    sentence = m3tr("ingest").sentence
    assert VIDEOS in sentence and "no such file; put the table there" in sentence
    assert "bring the tables there" in m3tr("run").sentence


def test_times_without_a_zone_are_utc(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    naive = pl.col("published_at").dt.replace_time_zone(None)
    table = edit(workspace, VIDEOS, lambda t: t.with_columns(naive))
    edit(workspace, FEEDBACK, lambda t: t.with_columns(pl.col("time").dt.replace_time_zone(None)))
    assert m3tr("ingest").status == 0
    kept = pl.read_parquet(workspace / "artifacts/tables/videos.parquet")
    assert kept["published_at"].sort().equals(table["published_at"].sort())
    assert pl.read_parquet(workspace / REJECTED).is_empty()


def test_a_dataset_of_one_video(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    table = edit(workspace, VIDEOS, lambda t: t.head(1))
    first = table["video_id"][0]
    edit(workspace, FEEDBACK, lambda t: t.filter(pl.col("video_id") == first))
    sentence = m3tr("ingest").sentence
    assert "too few to fill the" in sentence and "use more data" in sentence


def test_in_a_process_of_its_own(workspace: Path) -> None:
    edit(workspace, FEEDBACK, lambda t: t.drop("time"))
    command = [sys.executable, "-m", "m3tr.cli", "ingest"]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=120
    )
    told = Told(done.returncode, done.stdout, done.stderr)
    assert told.sentence.startswith("error: data/feedback.parquet: the column 'time' is missing")
