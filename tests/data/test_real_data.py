"""Real dirt: counters that fall or lack, an event log to the second."""

import os
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from m3tr.data.importing import import_dataset
from m3tr.data.quarantine import clean
from m3tr.data.settings import TaskSettings
from m3tr.data.tables import read_feedback, read_videos
from m3tr.data.windows import make_examples, observed

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("M3TR_REAL_DATA", ROOT / ".." / "shared" / "data"))


def folder(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"the real data set {name} is not here (M3TR_REAL_DATA)")
    return REAL / name


@pytest.fixture(scope="module")
def youtube(tmp_path_factory):
    src, dst = folder("youtube-2021"), tmp_path_factory.mktemp("youtube")
    report = import_dataset("snapshots", src, dst)
    data = dst / "data"
    return report, read_videos(data / "videos.parquet"), read_feedback(data / "feedback.parquet")


def test_counters_that_lack_or_fall_are_counted(youtube):
    report, videos, feedback = youtube
    assert report["videos_lacking_a_counter"] == 332
    assert report["rejected"] == {"videos": {"no counter of the target kind": 3}}
    assert videos.height == 8_232 - 3
    share = {k: f["decreased"] / f["steps"] for k, f in report["decreases"].items()}
    # the shares its readme names, of all steps
    assert share["view"] < 0.002
    assert 0.03 < share["like"] < 0.04
    assert 0.07 < share["comment"] < 0.08
    assert feedback["count"].min() == 1
    assert videos.schema["duration_s"] == pl.Float64 == videos.schema["creator_age_days"]


def test_increments_sum_to_the_positive_steps_of_single_videos(youtube):
    _, videos, feedback = youtube
    raw = pl.read_parquet(folder("youtube-2021") / "snapshots.parquet").sort("time")
    ids = videos["video_id"].sort().gather_every(400)
    raw = raw.filter(pl.col("video_id").is_in(ids.implode()))
    for (video_id, kind), part in raw.group_by("video_id", "kind"):
        values = part.sort("time")["value"].to_list()
        rises = [b - a for a, b in zip([0, *values], values, strict=False) if b > a]
        mine = feedback.filter((pl.col("video_id") == video_id) & (pl.col("kind") == kind))
        assert mine["count"].to_list() == rises


def test_one_clock_for_all_counters(youtube):
    _, videos, feedback = youtube
    task = TaskSettings(
        observe={"until": "2021-05-02T12:00:00Z"},
        horizons=["6d", "18d"],
        split="random",
        group_by="creator_id",
        fractions=(0.8, 0.1, 0.1),
    )
    examples, report = make_examples(videos, feedback, task)
    assert report["left_out_censored"] == 0 and examples.height == videos.height
    sides = examples.join(videos, on="video_id").group_by("creator_id")
    assert sides.agg(pl.col("split").n_unique())["split"].max() == 1
    assert abs(report["test"] / examples.height - 0.1) < 0.01


def test_an_event_log_is_imported_and_split_in_time(tmp_path):
    src = folder("weibo-ced")
    report = import_dataset("parquet", src, tmp_path, ["rumor"])
    videos = read_videos(tmp_path / "data" / "videos.parquet")
    feedback = read_feedback(tmp_path / "data" / "feedback.parquet")
    assert "rumor" not in videos.columns
    early = (
        pl.read_parquet(src / "feedback.parquet")
        .join(pl.read_parquet(src / "videos.parquet"), on="video_id")
        .filter(pl.col("time") < pl.col("published_at"))
    )
    rejected = report["rejected"].get("feedback", {})
    assert rejected.get("time is before publication", 0) == early.height
    assert feedback.height == 1_275_106 - early.height

    task = TaskSettings(target="repost", observe={"age": "6h"}, horizons=["7d"], min_events=5)
    examples, report = make_examples(videos, feedback, task)
    parts = {name: part for (name,), part in examples.group_by("split")}
    assert parts["train"]["known_at"].max() <= parts["validation"]["observed_at"].min()
    assert parts["validation"]["known_at"].max() <= parts["test"]["observed_at"].min()
    assert report["left_out_embargo_train"] > 0
    assert observed(feedback, examples)["age_days"].max() <= 0.25


def test_one_event_before_its_post_is_set_aside():
    src = folder("weibo-ced")
    videos = read_videos(src / "videos.parquet")
    feedback = read_feedback(src / "feedback.parquet")
    row = 123_456
    first = dict(videos.select("video_id", "published_at").iter_rows())
    moved = first[feedback["video_id"][row]] - timedelta(seconds=1)
    index = pl.int_range(pl.len())
    feedback = feedback.with_columns(
        pl.when(index == row)
        .then(pl.lit(moved).cast(pl.Datetime("us", "UTC")))
        .otherwise("time")
        .alias("time")
    )
    _, _, quarantine = clean(videos, feedback)
    assert (row, "time is before publication") in quarantine.select("row", "reason").rows()
