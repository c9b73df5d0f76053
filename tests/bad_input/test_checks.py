"""Checks of tables and features that fail, or warn."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.bad_input.faults import FEEDBACK, QUARANTINE, VIDEOS, Told, edit, on_rows


@pytest.mark.slow  # imports Great Expectations
def test_checks_that_fail_name_a_remedy(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    shutil.rmtree(workspace / "data/media")
    text = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(text.replace("min_examples: 5", "min_examples: 500"))
    assert m3tr("ingest").status == 0
    sentence = m3tr("validate").sentence
    assert "put the files that the column media of data/videos.parquet names under" in sentence
    assert "reports/data_docs/index.html" in sentence
    assert (workspace / "reports/data_docs/index.html").exists()
    assert not (workspace / "artifacts/validated.json").exists()
    # what came of it is in the report of the failed stage
    assert "lower quality.min_examples" in (workspace / "reports/validate.json").read_text()


@pytest.mark.slow  # imports Great Expectations
def test_raw_tables_that_contradict_themselves(
    workspace: Path, m3tr: Callable[[str], Told]
) -> None:
    swapped = pl.col("kind").replace({"view": "like", "like": "view"})
    edit(workspace, FEEDBACK, lambda t: t.with_columns(swapped))
    assert m3tr("ingest").status == 0
    sentence = m3tr("validate").sentence
    assert "raw_feedback: " in sentence and "likes_above_views" in sentence
    assert "check whether the kinds are interchanged" in sentence
    index = (workspace / "reports/data_docs/index.html").read_text()
    for name in ("raw_videos", "raw_columns", "raw_feedback", "videos", "feedback", "examples"):
        assert name in index
    assert not (workspace / "artifacts/validated.json").exists()


def test_too_few_videos_have_sound(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    text = (workspace / "params.yaml").read_text()
    limit = "quality: {min_coverage: {audio: 0.99}, "
    (workspace / "params.yaml").write_text(text.replace("quality: {", limit))
    edit(workspace, VIDEOS, on_rows(3, media=pl.lit(None)))
    kept = workspace / ".m3tr-cache/features/statistics.json"
    before = kept.read_bytes()
    assert m3tr("ingest").status == 0
    sentence = m3tr("features").sentence
    assert "audio_coverage" in sentence and "lower quality.min_coverage.audio" in sentence
    assert "reports/features_docs/index.html" in sentence
    assert (workspace / QUARANTINE).exists()
    # a version that was refused is nobody's predecessor
    assert kept.read_bytes() == before


def test_features_that_moved_are_told_and_kept(
    workspace: Path, m3tr: Callable[[str], Told]
) -> None:
    kept = workspace / ".m3tr-cache/features/statistics.json"
    first = json.loads(kept.read_text())["versions"]
    assert len(first) == 1 and first[0]["rows"] == 40
    # one sentence for all: the words of the text features go elsewhere
    edit(workspace, VIDEOS, lambda t: t.with_columns(title=pl.lit("a wholly other language")))
    assert m3tr("ingest").status == 0
    for _ in range(2):  # judged again, it is held against the same version
        told = m3tr("features")
        assert told.status == 0, told.err
        warnings = [line for line in told.out.splitlines() if line.startswith("warning: ")]
        assert any("features_text: shift values must be " in w for w in warnings), told.out
        assert not any("features_visual: shift " in w for w in warnings)
    assert json.loads(kept.read_text())["versions"][1] == first[0]
    kept.write_text("{")
    told = m3tr("features")
    assert told.status == 0 and f"warning: {kept} is unreadable" in told.out
    assert len(json.loads(kept.read_text())["versions"]) == 1
