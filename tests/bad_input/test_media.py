"""Broken media files: few are set aside, too many stop the pipeline."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tests.bad_input.faults import FEEDBACK, QUARANTINE, VIDEOS, Told, digests, edit, on_rows


def spoil(workspace: Path, n: int) -> list[str]:
    """Truncate a media file and replace others by text; the videos they belong to."""
    videos = pl.read_parquet(workspace / VIDEOS).filter(pl.col("media").str.ends_with(".mp4"))
    chosen = videos.head(n)
    for i, name in enumerate(chosen["media"]):
        path = workspace / "data" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if i == 0 else b"this is no film\n" * 20)
    return chosen["video_id"].to_list()


def test_few_broken_media_files(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    spoilt = spoil(workspace, 3)
    before = digests(workspace)
    assert m3tr("ingest").status == 0
    told = m3tr("features")
    assert told.status == 0, told.err
    quarantine = pl.read_parquet(workspace / QUARANTINE)
    assert not (workspace / "artifacts/features/quarantine.parquet").exists()
    assert set(spoilt) <= set(quarantine["video_id"])
    assert quarantine["remedy"].str.starts_with("replace the file").all()
    from m3tr.features.store import Features

    features = Features.load(workspace / "artifacts/features")
    assert len(features.ids) == 40
    assert not features.present("visual")[[features.ids.index(v) for v in spoilt]].any()
    # their texts are still there
    assert features.present("visual").sum() >= 30
    assert f"set aside: video {spoilt[0]}" in told.out
    assert digests(workspace) == before


def test_mostly_broken_media_files(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    """The stage stops, after it has listed all that is broken, in whatever stage it was found."""
    videos = edit(workspace, VIDEOS, lambda t: t.reverse())
    spoilt = spoil(workspace, 25)
    edit(workspace, FEEDBACK, on_rows(2, count=pl.lit(-1)))
    imported = {"table": "snapshots", "row": 7, "video_id": "x", "reason": "r", "remedy": "m"}
    pl.DataFrame([imported]).write_parquet(workspace / "data/rejected.parquet")
    before = digests(workspace)
    assert m3tr("ingest").status == 0
    sentence = m3tr("features").sentence
    assert "data/videos.parquet: " in sentence and "quality.max_missing_media = 0.2" in sentence
    assert ".mp4" in sentence and "replace the file" in sentence
    assert f"all are listed in {QUARANTINE}" in sentence
    quarantine = pl.read_parquet(workspace / QUARANTINE)
    assert quarantine.columns == ["table", "row", "video_id", "reason", "remedy"]
    assert quarantine.row(0, named=True) == imported
    assert quarantine.filter(table="feedback")["row"].to_list() == [3, 4]
    media = quarantine.filter(table="videos")
    assert set(spoilt) <= set(media["video_id"])
    # rows of the file as it came, in its order
    source = videos.reverse()["video_id"].to_list()
    assert media["video_id"].to_list() == [source[row] for row in media["row"]]
    assert media["row"].is_sorted()
    assert f"row {media['row'][0]}, video {media['video_id'][0]} (" in sentence
    assert digests(workspace) == before
    assert "features_visual" in (workspace / "reports/features_docs/index.html").read_text()
    report = json.loads((workspace / "reports/features.json").read_text())["figures"]
    assert report["in_quarantine"] == {"feedback": 2, "snapshots": 1, "videos": media.height}
