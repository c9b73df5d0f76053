"""`m3tr explain`: a table, a page, and what is said when there is none."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from answers import sentence

from m3tr.enquiries import file_name

Call = Callable[..., tuple[int, str, str]]


def test_a_video_is_explained_in_a_table_and_a_page(m3tr: Call, finished: Path, asked: str) -> None:
    status, out, _ = m3tr("explain", asked, "-w", finished)
    assert status == 0
    page = finished / f"reports/explain/{asked}.html"
    assert out.rstrip().endswith(f"page: {page}")
    rows = [line for line in out.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert len(rows) == 4
    text = page.read_text()
    assert all(row.split()[1] in text for row in rows)
    assert asked not in [row.split()[1] for row in rows]


def test_training_videos_meet_only_what_was_known_and_not_themselves(
    m3tr: Call, finished: Path, tiny_forecaster: Any, tmp_path: Path
) -> None:
    t = tiny_forecaster
    last = t.examples.filter(pl.col("split") == "train").sort("observed_at").row(-1, named=True)
    told = m3tr("explain", last["video_id"], "-w", finished, "--out", tmp_path / "x.html")
    assert told[0] == 0 and "took part in the fit" in told[1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"]
    _, out, _ = m3tr("bank", "search", last["video_id"], "-w", finished, "--k", "60", "--json")
    found = json.loads(out)
    names = [row["video_id"] for row in found]
    assert names and last["video_id"] not in names
    known = dict(t.examples.select("video_id", "known_at").iter_rows())
    assert all(known[name] <= last["observed_at"] for name in names)


def test_what_cannot_be_explained_is_one_sentence(
    m3tr: Call, finished: Path, asked: str, tiny_forecaster: Any, tmp_path: Path
) -> None:
    first = tiny_forecaster.examples.sort("observed_at")["video_id"][0]
    before = set(finished.rglob("*"))
    told = sentence(m3tr("explain", asked + "0", "-w", finished))
    assert f"has no video '{asked}0': did you mean" in told and asked in told
    assert "has no permitted neighbour" in sentence(m3tr("explain", first, "-w", finished))
    told = sentence(m3tr("explain", asked, "-w", finished, "--observed-at", "2001-01-01"))
    assert "after the clock" in told
    for time in ("soon", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"):
        told = sentence(m3tr("explain", asked, "-w", finished, "--observed-at", time))
        assert f"--observed-at {time}: write a time" in told
    assert "has no video ''" in sentence(m3tr("explain", "", "-w", finished))
    assert "has no video '\\udcff'" in sentence(m3tr("explain", "\udcff", "-w", finished))
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for out, words in (
        (tmp_path / "file/page.html", "file: "),
        (Path("/proc/page.html"), "No such file"),
        (tmp_path / "pipe", "pipe is no ordinary file: name one for the page"),
    ):
        assert words in sentence(m3tr("explain", asked, "-w", finished, "--out", out))
    assert (tmp_path / "pipe").is_fifo()
    assert "run the stage `ingest` first" in sentence(m3tr("explain", asked, "-w", tmp_path))
    assert set(finished.rglob("*")) == before
    shutil.copytree(finished / "artifacts/tables", tmp_path / "artifacts/tables")
    assert "run the stage `train`" in sentence(m3tr("explain", asked, "-w", tmp_path))


def test_a_training_video_at_a_later_clock_is_still_one(
    m3tr: Call, finished: Path, tiny_forecaster: Any
) -> None:
    """Its horizons count from that clock, and may not be over."""
    video = tiny_forecaster.part("train")["video_id"][-1]
    late = tiny_forecaster.feedback["time"].max().isoformat()
    status, out, _ = m3tr("explain", video, "-w", finished, "--observed-at", late)
    assert status == 0 and "later life is not over" in out
    assert "is itself an item of the bank" in out and "took part in the fit" in out


def test_a_model_of_other_encoders_is_named(
    m3tr: Call, finished: Path, asked: str, tmp_path: Path
) -> None:
    model = tmp_path / "may"
    shutil.copytree(finished / "artifacts/model", model)
    manifest = json.loads((model / "bank/manifest.json").read_text())
    manifest["fingerprints"] |= {"text": "0123456789abcdef", "smell": "0123456789abcdef"}
    (model / "bank/manifest.json").write_text(json.dumps(manifest))
    workspace = tmp_path / "workspace"
    shutil.copytree(finished, workspace)
    about = json.loads((workspace / "artifacts/features/manifest.json").read_text())
    about["encoders"] = {"text": "fedcba9876543210", "smell": "fedcba9876543210"}
    (workspace / "artifacts/features/manifest.json").write_text(json.dumps(about))
    for verb in (("explain",), ("bank", "search")):
        told = sentence(m3tr(*verb, asked, "-w", workspace, "--model", model))
        assert f"the text features in {workspace / 'artifacts/features'} come from another" in told
        assert f"those of {model} (0123456789ab)" in told and "run the stage `bank`" not in told
    # what the bank compares nothing by may differ
    manifest["fingerprints"]["text"] = "fedcba9876543210"
    (model / "bank/manifest.json").write_text(json.dumps(manifest))
    assert m3tr("explain", asked, "-w", workspace, "--model", model)[0] == 0


def test_another_clock(m3tr: Call, finished: Path, asked: str, tiny_forecaster: Any) -> None:
    example = tiny_forecaster.examples.row(by_predicate=pl.col("video_id") == asked, named=True)
    young = (example["published_at"] + timedelta(hours=7)).isoformat()
    status, out, _ = m3tr("explain", asked, "-w", finished, "--observed-at", young)
    assert status == 0 and "at an age of 0.292 d" in out


@pytest.mark.parametrize("name", ["../../etc/x", "a b", "", ".", "ü" * 300, "x" * 300, "con/aux\0"])
def test_odd_ids_make_harmless_file_names(name: str) -> None:
    safe = file_name(name)
    assert safe and len(safe) <= 90 and not set(safe) & set("/\\. \0")
    assert safe != file_name(name + "?")
