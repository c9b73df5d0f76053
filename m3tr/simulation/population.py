"""Who publishes what: creators, topics, qualities, trajectory classes, volumes, texts, defects."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from m3tr.simulation.process import CLASSES, Profile, draw_profile
from m3tr.simulation.settings import SimulationSettings
from m3tr.simulation.texts import write_text

TOPICS = ("cooking", "animals", "music", "sport", "travel", "study")
CATEGORY = {  # what the platform shows: coarser than the topic
    "cooking": "lifestyle",
    "travel": "lifestyle",
    "animals": "entertainment",
    "music": "entertainment",
    "sport": "active",
    "study": "knowledge",
}
TOPIC_EFFECT = {
    "cooking": 0.0,
    "animals": 0.35,
    "music": 0.2,
    "sport": 0.1,
    "travel": -0.2,
    "study": -0.35,
}
# log-odds of the classes, in the order of CLASSES, before `topic_sharpness`
CLASS_LOGITS = {
    "cooking": (1.0, 0.0, 0.3, -0.5, 0.0),
    "animals": (0.0, 1.2, -0.5, 0.3, -0.5),
    "music": (0.0, -0.5, 1.2, 0.3, -0.3),
    "sport": (-0.5, 0.3, -0.5, 1.2, -0.3),
    "travel": (0.3, -0.5, 0.9, -0.5, 0.6),
    "study": (0.9, -0.5, -0.3, -0.5, 0.8),
}
# a creator's log followers and skill, and how far a video's quality strays from the skill
MEDIAN_FOLLOWERS, LOG_FOLLOWERS_SD = 10_000, 1.5
SKILL_SD, QUALITY_SD = 0.6, 0.8
# local hours of publication, UTC: few at night, most in the evening
HOUR_WEIGHTS = 1.0 + 0.85 * np.cos(2 * np.pi * (np.arange(24) - 18.5) / 24.0)
DEFECTS = ("none", "no audio", "truncated", "not a video")


@dataclass(frozen=True)
class Video:
    """Everything about one video that is decided before its feedback."""

    video_id: str
    published_at: datetime
    topic: str
    quality: float
    trajectory_class: str
    volume_noise: float
    profile: Profile
    creator: int
    creator_followers: int
    creator_videos: int
    title: str | None
    description: str | None
    language: str
    category: str
    defect: str
    media_seed: int

    @property
    def publication_hour(self) -> float:
        """UTC hour of day, with its fraction."""
        p = self.published_at
        return p.hour + p.minute / 60.0 + p.second / 3600.0


def class_probabilities(topic: str, sharpness: float) -> np.ndarray:
    """(5,) probabilities of `CLASSES` given the topic."""
    weight = np.exp(sharpness * np.array(CLASS_LOGITS[topic]))
    return weight / weight.sum()


def draw_videos(settings: SimulationSettings) -> list[Video]:
    """All videos, in order of publication."""
    rng = np.random.default_rng([settings.seed, 1])
    n = settings.videos
    creators = max(3, round(n / settings.videos_per_creator))
    followers = (
        np.exp(rng.normal(np.log(MEDIAN_FOLLOWERS), LOG_FOLLOWERS_SD, creators)).astype(np.int64)
        + 1
    )
    earlier = rng.geometric(0.02, creators)
    skill = rng.normal(0, SKILL_SD, creators)
    home = rng.integers(0, len(TOPICS), creators)

    day = np.floor(rng.uniform(0, settings.days, n))
    hour = rng.choice(24, n, p=HOUR_WEIGHTS / HOUR_WEIGHTS.sum())
    seconds = np.sort(day * 86_400 + hour * 3_600 + rng.integers(0, 3_600, n)).astype(np.int64)
    defects = _defects(settings, rng)
    no_text = _some(n, settings.no_text_share, rng)

    start = settings.start.astimezone(UTC).replace(microsecond=0)
    videos = []
    for i in range(n):
        c = int(rng.integers(creators))
        topic = TOPICS[home[c] if rng.random() < 0.5 else rng.integers(len(TOPICS))]
        quality = float(skill[c] + rng.normal(0, QUALITY_SD))
        probabilities = class_probabilities(topic, settings.topic_sharpness)
        trajectory_class = CLASSES[rng.choice(len(CLASSES), p=probabilities)]
        noise = float(rng.normal(0, settings.volume_noise))
        log_volume = (
            settings.log_volume
            + TOPIC_EFFECT[topic]
            + settings.quality_effect * quality
            + settings.follower_effect * (np.log(followers[c]) - np.log(MEDIAN_FOLLOWERS))
            + noise
        )
        title, description, language = write_text(topic, quality, rng)
        earlier[c] += 1
        videos.append(
            Video(
                video_id=f"v{i:06d}",
                published_at=start + timedelta(seconds=int(seconds[i])),
                topic=topic,
                quality=quality,
                trajectory_class=trajectory_class,
                volume_noise=noise,
                profile=draw_profile(trajectory_class, float(np.exp(log_volume)), rng),
                creator=c,
                creator_followers=int(followers[c]),
                creator_videos=int(earlier[c]),
                title=None if no_text[i] else title,
                description=None if no_text[i] else description,
                language=language,
                category=CATEGORY[topic],
                defect=defects[i],
                media_seed=int(rng.integers(2**31)),
            )
        )
    return videos


def _some(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool, a fixed number of them true: the share, but two at least where it is positive."""
    count = min(n, max(2, round(share * n))) if share > 0 else 0
    chosen = np.zeros(n, dtype=bool)
    chosen[rng.permutation(n)[:count]] = True
    return chosen


def _defects(settings: SimulationSettings, rng: np.random.Generator) -> list[str]:
    """One of `DEFECTS` per video; a broken file is truncated or not a video, in turns."""
    silent = _some(settings.videos, settings.no_audio_share, rng)
    broken = _some(settings.videos, settings.broken_share, rng)
    defects = [DEFECTS[1] if s else DEFECTS[0] for s in silent]
    for turn, i in enumerate(np.flatnonzero(broken)):
        defects[i] = DEFECTS[2 + turn % 2]
    return defects
