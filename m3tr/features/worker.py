"""What a worker process does with one media file: decode it and prepare it for the encoders.

Imports stay light (no torch, no polars, no scikit-learn): every worker pays for them.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from m3tr.features.encoders import Prepare
from m3tr.features.media import REPLACE, MediaError, Wanted, read
from m3tr.features.settings import LimitSettings


@dataclass(frozen=True)
class MediaTask:
    """One file, what is wanted of it, and how that is prepared (None: not wanted)."""

    path: Path
    wanted: Wanted
    limits: LimitSettings
    visual: Prepare | None
    audio: Prepare | None


@dataclass
class Outcome:
    """What became of one file.

    Attributes
    ----------
    arrays : dict of str to ndarray (T, ...)
        Of the wanted modalities that the file has: as prepared here, as tokens (T, D) float32 once
        an engine gives it.
    pixels, seconds : int, float
        Its largest picture, its length.
    broken : dict of str to (reason, remedy)
        Wanted modalities that cannot be read.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    pixels: int = 0
    seconds: float = 0.0
    broken: dict[str, tuple[str, str]] = field(default_factory=dict)


def handle(task: MediaTask) -> Outcome:
    """Decode and prepare one file; a broken file is a result, not an exception."""
    result = Outcome()
    wanted = {m for m in ("visual", "audio") if getattr(task, m) is not None}
    try:
        media = read(task.path, task.wanted, task.limits)
    except MediaError as error:
        result.broken = dict.fromkeys(wanted, (error.reason, error.remedy))
        return result
    result.pixels, result.seconds = media.pixels, media.seconds
    result.broken = {m: (why, REPLACE) for m, why in media.broken.items() if m in wanted}
    if media.frames and task.visual is not None:
        result.arrays["visual"] = task.visual(media.frames)
    if media.sound.size and task.audio is not None:
        result.arrays["audio"] = task.audio(media.sound)
    return result
