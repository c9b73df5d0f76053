"""A finished workspace, and videos that come later."""

import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_forecaster: Any) -> Path:
    """A workspace that has tables, features and a model."""
    return tiny_forecaster.workspace(tmp_path_factory.mktemp("asked") / "my videos")


@pytest.fixture(scope="module")
def incoming(tmp_path_factory: pytest.TempPathFactory, tiny_forecaster: Any) -> Path:
    """The videos of the world, as if they were others: new ids, titles and creators."""
    folder = tmp_path_factory.mktemp("incoming")
    videos = renamed(tiny_forecaster.videos).with_columns(title=pl.col("title") + " once more")
    videos.write_parquet(folder / "videos.parquet")
    renamed(tiny_forecaster.feedback).write_parquet(folder / "feedback.parquet")
    return folder


@pytest.fixture(scope="module")
def asked(tiny_forecaster: Any) -> str:
    """A test video that has neighbours."""
    return str(tiny_forecaster.part("test")["video_id"][-1])


def renamed(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.concat_str(pl.lit("new-"), "video_id").alias("video_id"))
