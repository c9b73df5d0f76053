"""What a worker process does with one media file: decode it and, if it can, describe it.

Imports stay light (no torch, no polars, no scikit-learn): every worker pays for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m3tr.features.media import MediaError, Wanted, read
from m3tr.features.settings import LimitSettings


@dataclass(frozen=True)
class MediaTask:
    """One file, what is wanted of it, and what is done with that here."""

    path: Path
    wanted: Wanted
    limits: LimitSettings
    visual: Callable[[Any], np.ndarray] | None
    audio: Callable[[Any], np.ndarray] | None


@dataclass
class MediaResult:
    """What was prepared, (T, ...); None = not there or not asked for.

    `reason` is set, and nothing else, for a broken file.
    """

    visual: np.ndarray | None = None
    audio: np.ndarray | None = None
    reason: str | None = None
    remedy: str | None = None


def handle(task: MediaTask) -> MediaResult:
    """Decode and describe one file; a broken file is a result, not an exception."""
    try:
        media = read(
            task.path,
            frames=task.wanted.frames or 1,
            sample_rate=task.wanted.sample_rate or 16_000,
            max_audio_seconds=task.wanted.sound_seconds,
            limits=task.limits,
        )
    except MediaError as error:
        return MediaResult(reason=error.reason, remedy=error.remedy)
    result = MediaResult()
    if media.frames and task.visual is not None:
        result.visual = task.visual(media.frames)
    if media.sound.size and task.audio is not None:
        result.audio = task.audio(media.sound)
    return result
