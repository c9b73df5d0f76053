"""Media files made for the tests by the real encoders."""

from pathlib import Path

import av
import numpy as np


def tone(hertz: float, seconds: float = 1.0, rate: int = 44_100, level: float = 0.3) -> np.ndarray:
    """A harmonic tone, (n,) float."""
    t = np.arange(int(seconds * rate)) / rate
    return level * (np.sin(2 * np.pi * hertz * t) + 0.5 * np.sin(4 * np.pi * hertz * t))


def plain(colour: tuple[int, int, int], n: int = 10, size: tuple[int, int] = (64, 48)) -> list:
    """`n` frames (height, width, 3) of one colour; size is (width, height)."""
    return [np.full((size[1], size[0], 3), colour, np.uint8)] * n


def write(
    path: Path,
    frames: list[np.ndarray] | None = None,
    sound: np.ndarray | None = None,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound_codec: str = "aac",
    rate: int = 10,
    sound_rate: int = 44_100,
    rotation: int = 0,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Encode frames (and sound) to `path`; `times` in ticks of 1/rate for a variable frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        if frames is not None:
            video = container.add_stream(codec, rate=rate, options=codec_options or {})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = pixels
            if rotation:
                video.set_display_rotation(rotation)
        if sound is not None:
            audio = container.add_stream(sound_codec, rate=sound_rate, layout="mono")
        if frames is not None:
            for i, array in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(array, "rgb24")
                frame.pts = times[i] if times else i
                frame.time_base = 1 / video.codec_context.framerate
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if sound is not None:
            samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate = sound_rate
            frame.pts = 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path
