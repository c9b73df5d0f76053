"""The encoders that the settings ask for, behind one interface.

An encoder of media has two halves: `prepare` runs in the decoding workers, on the raw material of
one video; `network` runs in the calling process, on what was prepared of several videos. The
default `"signal"` encoders measure signals and are all preparation; any other name is a
transformers checkpoint (`m3tr.features.pretrained`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from m3tr.features.fingerprints import SIGNAL, fingerprints
from m3tr.features.media import Wanted
from m3tr.features.settings import FeatureSettings
from m3tr.features.signal_audio import SignalAudio
from m3tr.features.signal_text import SignalText
from m3tr.features.signal_visual import SignalVisual

__all__ = ["SIGNAL", "Encoders", "MediaEncoder", "TextEncoder", "build", "fingerprints"]

# frames (h, w, 3) uint8, or a mono waveform (n,) float32, of one video -> (T, ...); picklable
Prepare = Callable[[Any], np.ndarray]
# what was prepared of several videos -> tokens (T_i, D) float32 of each
Network = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class MediaEncoder:
    """Pictures or sound to tokens.

    Attributes
    ----------
    prepare : Prepare
        For the decoding worker.
    network : Network or None
        For the caller; None where what is prepared are the tokens.
    """

    prepare: Prepare
    network: Network | None = None


class TextEncoder(Protocol):
    """N texts -> vectors (N, D) float32."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True)
class Encoders:
    """One encoder a modality; None where it is not needed.

    Attributes
    ----------
    wanted : Wanted
        What the decoder must deliver for them.
    """

    wanted: Wanted
    visual: MediaEncoder | None
    audio: MediaEncoder | None
    text: TextEncoder | None


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
        Where a checkpoint cannot be found or does not fit the modality, or the device is absent.
    """
    frames = settings.visual.frames if visual else 0
    rate = settings.audio.sample_rate if audio else 0
    wanted = Wanted(frames, sample_rate=rate, sound_seconds=settings.audio.max_seconds)
    seen = heard = None
    read: TextEncoder | None = None
    # torch and transformers take seconds to import: only where they are used
    if visual and settings.visual.encoder == SIGNAL:
        seen = MediaEncoder(SignalVisual().encode_frames)
    elif visual:
        from m3tr.features.pretrained.visual import build as build_visual

        prepare, network, frames, side = build_visual(settings)
        seen = MediaEncoder(prepare, network)
        wanted = replace(wanted, frames=frames, side=side)
    if audio and settings.audio.encoder == SIGNAL:
        heard = MediaEncoder(SignalAudio(settings.audio.segments, rate).encode_audio)
    elif audio:
        from m3tr.features.pretrained.audio import build as build_audio

        listen, hearing, rate = build_audio(settings)
        heard = MediaEncoder(listen, hearing)
        wanted = replace(wanted, sample_rate=rate)
    if seen and heard and seen.network and heard.network:
        from m3tr.features.pretrained.prepare import together

        prepare, listen = together(prepare, listen)
        seen, heard = replace(seen, prepare=prepare), replace(heard, prepare=listen)
    if text and settings.text.encoder == SIGNAL:
        read = SignalText()
    elif text:
        from m3tr.features.pretrained.text import PretrainedText

        read = PretrainedText(settings)
    return Encoders(wanted, seen, heard, read)
