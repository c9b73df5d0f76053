"""One quarantine for all stages: rows of media are those of the source file."""

from pathlib import Path

import polars as pl
import pytest

from m3tr.data import quarantine
from m3tr.data.settings import QualitySettings
from m3tr.errors import InputError


def filed(table: str, *rows: tuple[int, str]) -> pl.DataFrame:
    listed = [(table, row, video, "reason", "remedy") for row, video in rows]
    return pl.DataFrame(listed, schema=quarantine.SCHEMA, orient="row")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ids are integers; 8 is repeated, and 9 came first in a row that was rejected."""
    path = tmp_path / "videos.parquet"
    pl.DataFrame({"video_id": [9, 7, 8, 9, 8, 5]}).write_parquet(path)
    return path


def test_rows_of_media_are_those_of_the_source(source: Path) -> None:
    rejected = pl.concat([filed("videos", (0, "9"), (4, "8")), filed("feedback", (2, "5"))])
    broken = filed("videos", (0, "5"), (1, "9"), (1, "9"), (3, "8"))
    everything = quarantine.with_media(rejected, broken, source)
    assert everything.head(3).equals(rejected)
    found = everything.tail(4).select("row", "video_id").rows()
    assert found == [(2, "8"), (3, "9"), (3, "9"), (5, "5")]
    assert quarantine.sizes(everything) == {"feedback": 1, "videos": 6}


def test_without_broken_media_the_source_is_not_read(tmp_path: Path) -> None:
    rejected = filed("videos", (0, "9"))
    nowhere = tmp_path / "none.parquet"
    assert quarantine.with_media(rejected, quarantine.empty(), nowhere).equals(rejected)
    with pytest.raises(InputError, match=r"none\.parquet is missing or damaged"):
        quarantine.with_media(rejected, filed("videos", (0, "9")), nowhere)


def test_media_are_enforced_by_video() -> None:
    twice = filed("videos", (3, "a"), (3, "a"), (4, "b"))
    settings = QualitySettings(max_missing_media=0.2)
    quarantine.enforce_media(twice, 10, settings, where="here")
    quarantine.enforce_media(quarantine.empty(), 0, settings, where="here")
    with pytest.raises(InputError) as caught:
        quarantine.enforce_media(twice, 9, settings, where="here")
    assert str(caught.value) == (
        "data/videos.parquet: 2 of 9 videos (22.2%) have unusable media, more than "
        "quality.max_missing_media = 0.2; the first is row 3, video a (reason): remedy; all are "
        "listed in here."
    )
