"""What is written: determinism, tables, sizes, presence of every class and defect."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.simulation.process import BRANCHING, CLASSES, KINDS
from m3tr.simulation.settings import SimulationSettings
from m3tr.simulation.world import simulate_dataset

TABLES = ("videos.parquet", "feedback.parquet", "truth.parquet")


def _read(out: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(out / "data" / name)


def test_same_seed_same_world_other_seed_another(tmp_path: Path) -> None:
    settings = SimulationSettings(videos=12, seed=5)
    for name in ("a", "b"):
        simulate_dataset(tmp_path / name, settings)
    simulate_dataset(tmp_path / "c", SimulationSettings(videos=12, seed=6, media=False))
    a, b, c = (tmp_path / name for name in "abc")
    for name in TABLES:
        assert _read(a, name).equals(_read(b, name)), name
        assert not _read(a, name).equals(_read(c, name)), name
    assert (a / "data/truth.json").read_bytes() == (b / "data/truth.json").read_bytes()
    files = sorted((a / "data/media").iterdir())
    assert len(files) == 12 and not list((c / "data/media").iterdir())
    for file in files:
        assert file.read_bytes() == (b / "data/media" / file.name).read_bytes(), file.name


def test_a_dataset_is_not_overwritten(world: tuple[Path, dict]) -> None:
    with pytest.raises(InputError, match="exists"):
        simulate_dataset(world[0], SimulationSettings(videos=2, media=False))


def test_tables_have_the_promised_columns(world: tuple[Path, dict]) -> None:
    videos, feedback = _read(world[0], "videos.parquet"), _read(world[0], "feedback.parquet")
    utc = pl.Datetime("us", "UTC")
    assert dict(feedback.schema) == {
        "video_id": pl.String, "time": utc, "kind": pl.String, "count": pl.Int64
    }  # fmt: skip
    assert videos.schema["published_at"] == utc
    assert videos.columns == [
        "video_id", "published_at", "title", "description", "category", "language", "duration_s",
        "creator_id", "creator_followers", "creator_videos", "media",
    ]  # fmt: skip
    assert videos["video_id"].is_unique().all() and videos["published_at"].is_sorted()
    assert set(feedback["kind"]) == set(KINDS) and (feedback["count"] == 1).all()
    ages = feedback.join(videos, on="video_id").select(
        (pl.col("time") - pl.col("published_at")).dt.total_seconds(fractional=True) / 86_400
    )
    assert ages.to_series().min() > 0 and ages.to_series().max() <= 10.0 + 1e-6
    # nothing in the tables names the hidden causes
    assert not {"topic", "quality", "trajectory_class"} & set(videos.columns + feedback.columns)


def test_sizes_scale_to_the_sample_limits(world: tuple[Path, dict]) -> None:
    out, report = world
    per_video = report["total_bytes"] / report["videos"]
    assert per_video * 400 < 8 * 2**20
    assert report["feedback_bytes"] * 400 / report["videos"] < 2 * 2**20
    assert 60 < report["views_7d"]["median"] < 350
    assert report["views_7d"]["max"] > 5 * report["views_7d"]["median"]
    assert report["total_bytes"] == sum(
        f.stat().st_size for f in (out / "data").rglob("*") if f.is_file()
    )


def test_every_class_defect_and_burst_is_present(world: tuple[Path, dict]) -> None:
    truth, videos = _read(world[0], "truth.parquet"), _read(world[0], "videos.parquet")
    assert set(truth["trajectory_class"]) == set(CLASSES)
    assert set(truth["defect"]) == {"none", "no audio", "truncated", "not a video"}
    assert truth["text_missing"].sum() >= 2
    assert truth["text_missing"].equals(videos["title"].is_null())
    bursts = truth.filter("fake_burst")
    assert bursts.height >= 1 and (bursts["fake_likes"] >= 40).all()
    assert (truth.filter(~pl.col("fake_burst"))["fake_likes"] == 0).all()


def test_branching_is_subcritical_and_written_as_it_is(world: tuple[Path, dict]) -> None:
    truth = json.loads((world[0] / "data/truth.json").read_text())
    alpha, beta = np.array(truth["alpha"]), np.array(truth["beta"])
    branching = (alpha / beta[:, None, None]).sum(axis=0)
    radius = np.abs(np.linalg.eigvals(branching)).max()
    assert 0.5 <= radius <= 0.6 and radius == pytest.approx(truth["spectral_radius"])
    np.testing.assert_allclose(branching, BRANCHING.sum(axis=0))
    assert (branching == 0).sum() >= 2  # there are zeros for sparse estimation to find


def test_publication_follows_the_clock() -> None:
    from m3tr.simulation.population import draw_videos

    hours = np.array([v.publication_hour for v in draw_videos(SimulationSettings(videos=600))])
    evening = ((hours >= 15) & (hours < 23)).mean()
    assert evening > 2 * ((hours >= 2) & (hours < 10)).mean()
