"""What a worker process does with one media file: decode it and, if it can, describe it.

Imports stay light (no torch, no polars, no scikit-learn): every worker pays for them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3tr.features.media import MediaError, Wanted, read
from m3tr.features.settings import LimitSettings
from m3tr.features.signal_audio import SignalAudio
from m3tr.features.signal_visual import SignalVisual


@dataclass(frozen=True)
class MediaTask:
    """One file and how to read it; an encoder of None leaves the raw material to the caller."""

    path: Path
    frames: int
    sample_rate: int
    max_audio_seconds: float
    limits: LimitSettings
    visual: SignalVisual | None
    audio: SignalAudio | None


@dataclass
class MediaResult:
    """Tokens (T, D) where an encoder was given, raw frames and waveform otherwise.

    None = the file has no such modality. `reason` is set, and nothing else, for a broken file.
    """

    visual: np.ndarray | None = None
    audio: np.ndarray | None = None
    frames: list[np.ndarray] | None = None
    wave: np.ndarray | None = None
    reason: str | None = None
    remedy: str | None = None


def handle(task: MediaTask) -> MediaResult:
    """Decode and describe one file; a broken file is a result, not an exception."""
    try:
        media = read(
            task.path,
            Wanted(
                frames=task.frames,
                sample_rate=task.sample_rate,
                sound_seconds=task.max_audio_seconds,
            ),
            task.limits,
        )
    except MediaError as error:
        return MediaResult(reason=error.reason, remedy=error.remedy)
    result = MediaResult()
    if media.frames:
        if task.visual is None:
            result.frames = media.frames
        else:
            result.visual = task.visual.encode_frames(media.frames)
    if media.sound.size:
        if task.audio is None:
            result.wave = media.sound
        else:
            result.audio = task.audio.encode_audio(media.sound)
    return result
