"""The encoders that the settings ask for, behind one interface.

An encoder turns raw material into tokens; `encode_texts` gives one vector a text. The default
`"signal"` encoders measure signals and run inside the decoding workers; any other name is a
transformers checkpoint (`m3tr.features.pretrained`) and runs in the calling process.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from m3tr.features.settings import FeatureSettings
from m3tr.features.signal_audio import SignalAudio
from m3tr.features.signal_text import SignalText
from m3tr.features.signal_visual import SignalVisual

SIGNAL = "signal"
ROOM = Path(__file__).parent


class VisualEncoder(Protocol):
    """Frames of one video -> tokens (T, D) float32."""

    def encode_frames(self, frames: list[np.ndarray]) -> np.ndarray: ...


class AudioEncoder(Protocol):
    """Mono waveform (n,) of one video -> tokens (T, D) float32."""

    def encode_audio(self, wave: np.ndarray) -> np.ndarray: ...


class TextEncoder(Protocol):
    """N texts -> vectors (N, D) float32."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True)
class Encoders:
    """One encoder a modality."""

    visual: VisualEncoder
    audio: AudioEncoder
    text: TextEncoder


def build(
    settings: FeatureSettings, *, visual: bool = True, audio: bool = True, text: bool = True
) -> Encoders:
    """The encoders of the settings.

    Parameters
    ----------
    settings : FeatureSettings
        `encoder` of each modality: "signal", or a folder or hub id of a checkpoint.
    visual, audio, text : bool
        Whether the modality is needed; a checkpoint that nobody needs is not loaded.

    Raises
    ------
    InputError
        Where a checkpoint cannot be found or does not fit the modality.
    """
    names = settings.visual.encoder, settings.audio.encoder, settings.text.encoder
    seen: VisualEncoder = SignalVisual()
    heard: AudioEncoder = SignalAudio(settings.audio.segments, settings.audio.sample_rate)
    read: TextEncoder = SignalText()
    if any(
        name != SIGNAL and needed for name, needed in zip(names, (visual, audio, text), strict=True)
    ):
        from m3tr.features import pretrained  # torch and transformers take seconds to import

        if visual and settings.visual.encoder != SIGNAL:
            seen = pretrained.PretrainedVisual(settings.visual.encoder)
        if audio and settings.audio.encoder != SIGNAL:
            heard = pretrained.PretrainedAudio(
                settings.audio.encoder, settings.audio.segments, settings.audio.sample_rate
            )
        if text and settings.text.encoder != SIGNAL:
            read = pretrained.PretrainedText(settings.text.encoder, settings.batch_size)
    return Encoders(seen, heard, read)


def fingerprint(settings: FeatureSettings) -> str:
    """Digest of everything but the file that decides the visual and audio tokens."""
    told = settings.model_dump(mode="json", include={"visual", "audio", "limits"})
    stamps = [_stamp(settings.visual.encoder), _stamp(settings.audio.encoder)]
    # the code of this room too: a changed encoder must not be answered from an old cache
    code = [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(ROOM.glob("*.py"))]
    text = json.dumps([code, told, stamps], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(encoder: str) -> list[list[str | int]]:
    """Names, sizes and times of a checkpoint's files: a new checkpoint in the same folder."""
    folder = Path(encoder)
    if encoder == SIGNAL or not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
