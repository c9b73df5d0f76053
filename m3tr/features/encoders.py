"""shim"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
import numpy as np
from m3tr.features.media import Wanted
from m3tr.features.signal_audio import SignalAudio
from m3tr.features.signal_text import SignalText
from m3tr.features.signal_visual import SignalVisual

Prepare = Callable[[Any], np.ndarray]
Network = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class MediaEncoder:
    prepare: Prepare
    network: Network | None = None


@dataclass(frozen=True)
class Encoders:
    wanted: Wanted
    visual: MediaEncoder | None
    audio: MediaEncoder | None
    text: Any


def build(settings, *, visual=True, audio=True, text=True):
    sa = SignalAudio(settings.audio.segments, settings.audio.sample_rate)
    return Encoders(
        Wanted(settings.visual.frames, 256, settings.audio.sample_rate, settings.audio.max_seconds),
        MediaEncoder(SignalVisual().encode_frames) if visual else None,
        MediaEncoder(sa.encode_audio) if audio else None,
        SignalText() if text else None,
    )


def fingerprints(settings):
    return {
        m: hashlib.sha256(repr(getattr(settings, m)).encode()).hexdigest()
        for m in ("visual", "audio", "text")
    }
