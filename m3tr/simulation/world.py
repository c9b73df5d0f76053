"""A world with a known truth: tables, media files and the parameters they came from."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.progress import track
from m3tr.simulation import population, process
from m3tr.simulation.feedback import Burst, draw_burst, draw_feedback
from m3tr.simulation.media import duration, write_media
from m3tr.simulation.population import Video, draw_videos
from m3tr.simulation.settings import SimulationSettings

UTC_TIME = pl.Datetime("us", "UTC")


def simulate_dataset(out: Path, settings: SimulationSettings) -> dict[str, Any]:
    """Write a simulated dataset and its truth below `out/data`.

    Files: `videos.parquet`, `feedback.parquet`, `media/*.mp4`, `truth.json` (parameters of the
    world), `truth.parquet` (one row a video). See docs/simulation.md.

    Parameters
    ----------
    out : Path
        A workspace; `out/data` must not hold another dataset.
    settings : SimulationSettings

    Returns
    -------
    dict
        Figures of the world: rows, bytes, counts of classes, defects and bursts, views in a week.

    Raises
    ------
    InputError
        Where `out/data` already holds a dataset.
    """
    data = Path(out) / "data"
    if (data / "videos.parquet").exists():
        raise InputError(f"{data}/videos.parquet exists; choose another folder or remove {data}.")
    (data / "media").mkdir(parents=True, exist_ok=True)

    videos = draw_videos(settings)
    bursts = [draw_burst(v, i, settings) for i, v in enumerate(videos)]
    feedback = _feedback_table(videos, bursts, settings)
    feedback.write_parquet(data / "feedback.parquet", compression="zstd", compression_level=9)
    table = _videos_table(videos, settings.media)
    truth = _truth_table(videos, bursts)
    truth.write_parquet(data / "truth.parquet", compression="zstd")
    (data / "truth.json").write_text(json.dumps(true_parameters(settings), indent=2) + "\n")
    media_bytes = _write_media(videos, data) if settings.media else 0
    # last: its presence says that the dataset is complete
    table.write_parquet(data / "videos.parquet", compression="zstd")

    week = _views_in_a_week(table, feedback)
    return {
        "videos": len(videos),
        "feedback_rows": feedback.height,
        "feedback_bytes": (data / "feedback.parquet").stat().st_size,
        "media_bytes": media_bytes,
        "total_bytes": sum(f.stat().st_size for f in data.rglob("*") if f.is_file()),
        "views_7d": {
            "min": int(week.min()),
            "median": float(np.median(week)),
            "max": int(week.max()),
        },
        "kinds": dict(feedback["kind"].value_counts(sort=True).iter_rows()),
        "classes": {c: sum(v.trajectory_class == c for v in videos) for c in process.CLASSES},
        "defects": {d: sum(v.defect == d for v in videos) for d in population.DEFECTS},
        "no_text": sum(v.title is None for v in videos),
        "fake_bursts": sum(b is not None for b in bursts),
    }


def true_parameters(settings: SimulationSettings) -> dict[str, Any]:
    """Content of truth.json: every constant of the generating process."""
    return {
        "kinds": list(process.KINDS),
        "target_kind": "view",
        "time_unit": "day",
        "alpha": process.jumps().tolist(),
        "branching": process.BRANCHING.tolist(),
        "index": "[scale][receiver][source]; alpha = branching * beta",
        "beta": process.BETA.tolist(),
        "spectral_radius": process.spectral_radius(),
        "cell_days": process.CELL_DAYS,
        "clock": {"swing": process.CLOCK_SWING, "peak_hour_utc": process.CLOCK_PEAK_HOUR},
        "classes": {name: asdict(shape) for name, shape in process.SHAPES.items()},
        "class_probabilities": {
            topic: population.class_probabilities(topic, settings.topic_sharpness).tolist()
            for topic in population.TOPICS
        },
        "log_volume": {
            "base": settings.log_volume,
            "topic": population.TOPIC_EFFECT,
            "quality": settings.quality_effect,
            "log_followers_over_10000": settings.follower_effect,
            "noise_sd": settings.volume_noise,
        },
        "settings": settings.model_dump(mode="json"),
    }


def _videos_table(videos: list[Video], media: bool) -> pl.DataFrame:
    table = pl.DataFrame(
        {
            "video_id": [v.video_id for v in videos],
            "published_at": [v.published_at for v in videos],
            "title": [v.title for v in videos],
            "description": [v.description for v in videos],
            "category": [v.category for v in videos],
            "language": [v.language for v in videos],
            "duration_s": [duration(v) for v in videos],
            "creator_id": [f"c{v.creator:05d}" for v in videos],
            "creator_followers": [v.creator_followers for v in videos],
            "creator_videos": [v.creator_videos for v in videos],
            "media": [_media_path(v) for v in videos],
        },
        schema_overrides={
            "published_at": UTC_TIME,
            "title": pl.String,
            "description": pl.String,
        },
    )
    return table if media else table.drop("media")


def _feedback_table(
    videos: list[Video], bursts: list[Burst | None], settings: SimulationSettings
) -> pl.DataFrame:
    """All feedback rows, sorted by video and time; a fake like looks like any other like."""
    like = process.KINDS.index("like")
    owner, times, kinds = [], [], []
    for i, (video, burst) in enumerate(
        zip(track(videos, "simulating feedback"), bursts, strict=True)
    ):
        age, kind = draw_feedback(video, i, settings)
        if burst is not None:
            age = np.concatenate([age, burst.times])
            kind = np.concatenate([kind, np.full(len(burst.times), like)])
        published = int(video.published_at.timestamp()) * 1_000_000
        order = np.lexsort((kind, age))
        owner.append(np.full(len(age), i))
        times.append(published + age[order])
        kinds.append(kind[order])
    ids = pl.Series([v.video_id for v in videos], dtype=pl.String)
    return pl.DataFrame(
        {
            "video_id": ids.gather(np.concatenate(owner)),
            "time": pl.Series(np.concatenate(times)).cast(pl.Datetime("us")),
            "kind": pl.Series(process.KINDS).gather(np.concatenate(kinds)),
            "count": pl.Series(np.ones(sum(map(len, times)), dtype=np.int64)),
        }
    ).with_columns(pl.col("time").dt.replace_time_zone("UTC"))


def _truth_table(videos: list[Video], bursts: list[Burst | None]) -> pl.DataFrame:
    """What no model may see: causes, immigration profiles, defects, fake likes."""
    rows = []
    for v, b in zip(videos, bursts, strict=True):
        fake = [] if b is None else b.times.tolist()
        rows.append(
            {
                "video_id": v.video_id,
                "topic": v.topic,
                "quality": v.quality,
                "trajectory_class": v.trajectory_class,
                "volume_noise": v.volume_noise,
                **{k: list(x) if isinstance(x, tuple) else x for k, x in asdict(v.profile).items()},
                "publication_hour": v.publication_hour,
                "defect": v.defect,
                "text_missing": v.title is None,
                "fake_burst": b is not None,
                "fake_burst_age_days": None if b is None else b.age,
                "fake_burst_minutes": None if b is None else b.minutes,
                "fake_likes": len(fake),
                "fake_like_us": fake,
            }
        )
    lists = ("surge_age", "surge_width", "surge_weight", "mix")
    overrides: dict[str, Any] = {name: pl.List(pl.Float64) for name in lists}
    overrides |= {"fake_burst_age_days": pl.Float64, "fake_burst_minutes": pl.Float64}
    overrides["fake_like_us"] = pl.List(pl.Int64)
    return pl.DataFrame(rows, schema_overrides=overrides)


def _media_path(video: Video) -> str:
    return f"media/{video.video_id}.mp4"


def _write_media(videos: list[Video], data: Path) -> int:
    # the encoders release the interpreter lock, so threads are enough
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        sizes = pool.map(lambda v: write_media(v, data / _media_path(v)), videos)
        return sum(track(sizes, "writing media", total=len(videos)))


def _views_in_a_week(videos: pl.DataFrame, feedback: pl.DataFrame) -> np.ndarray:
    """(videos,) views within seven days."""
    views = (
        feedback.filter(pl.col("kind") == "view")
        .join(videos.select("video_id", "published_at"), on="video_id")
        .filter(pl.col("time") - pl.col("published_at") <= pl.duration(days=7))
        .group_by("video_id")
        .len()
    )
    counts = videos.select("video_id").join(views, on="video_id", how="left")["len"]
    return counts.fill_null(0).to_numpy()
