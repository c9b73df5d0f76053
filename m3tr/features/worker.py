"""What a worker process does with one media file: decode it and prepare it for the encoders.

Imports stay light (no torch, no polars, no scikit-learn): every worker pays for them.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from m3tr.features.encoders import Prepare
from m3tr.features.media import MediaError, Wanted, read
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
class MediaResult:
    """What one file gave.

    Attributes
    ----------
    prepared : dict of str to ndarray (T, ...)
        By modality; a modality that the file does not have is left out.
    pixels, seconds : int, float
        Its largest picture, its length.
    broken : dict of str to (reason, remedy)
        Modalities that cannot be read.
    """

    prepared: dict[str, np.ndarray] = field(default_factory=dict)
    pixels: int = 0
    seconds: float = 0.0
    broken: dict[str, tuple[str, str]] = field(default_factory=dict)


def handle(task: MediaTask) -> MediaResult:
    """Decode and prepare one file; a broken file is a result, not an exception."""
    result = MediaResult()
    wanted = {m for m in ("visual", "audio") if getattr(task, m) is not None}
    try:
        media = read(task.path, task.wanted, task.limits)
    except MediaError as error:
        result.broken = dict.fromkeys(wanted, (error.reason, error.remedy))
        return result
    result.pixels, result.seconds = media.pixels, media.seconds
    if media.frames and task.visual is not None:
        result.prepared["visual"] = task.visual(media.frames)
    if media.sound.size and task.audio is not None:
        result.prepared["audio"] = task.audio(media.sound)
    return result
