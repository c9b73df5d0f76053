"""Micro-videos to measure on: a few are encoded, copies of distinct bytes make a large corpus.

The picture pans over textures, a second texture moves before it, scenes change every three seconds
and grain lies on everything, so that encoders spend bits as they do on real footage. Sound is a
chord that changes with the scene, and noise. Nothing is random but by the seed.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from PIL import Image

FPS, SCENE = 30, 90  # frames a second; frames of a scene
PAN = 128  # pixels a scene may pan over
RATES = {"aac": 44_100, "libopus": 48_000}
SPEED = {
    "libx264": {"preset": "veryfast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "threads": "4"},
}


@dataclass(frozen=True)
class Clip:
    """One video to encode; `frames` is odd where no sampled time may meet a frame's edge."""

    name: str
    width: int
    height: int
    frames: int
    gop: int = 60
    codec: str = "libx264"
    bits: int = 2_000_000  # a second, of the picture

    @property
    def kind(self) -> str:
        """What it takes to decode it."""
        return "VP9" if self.codec == "libvpx-vp9" else f"H.264, GOP {self.gop}"


# lengths of 8 to 20 s; 1 to 4 Mbit/s
MICRO_VIDEOS = (
    Clip("upright-60", 720, 1280, 12 * FPS + 1, bits=2_500_000),
    Clip("upright-250", 720, 1280, 20 * FPS + 1, gop=250, bits=1_500_000),
    Clip("wide-30", 1280, 720, 8 * FPS + 1, gop=30, bits=4_000_000),
    Clip("wide-250", 1280, 720, 15 * FPS + 1, gop=250, bits=2_000_000),
    Clip("upright-vp9", 720, 1280, 9 * FPS + 1, gop=128, codec="libvpx-vp9", bits=1_200_000),
)
LONG = (
    Clip("long-60", 720, 1280, 45 * FPS + 1, bits=2_000_000),
    Clip("long-250", 1280, 720, 45 * FPS + 1, gop=250, bits=2_000_000),
)
QUICK = (
    Clip("upright-60", 720, 1280, 5 * FPS + 1),
    Clip("wide-250", 1280, 720, 9 * FPS + 1, gop=250),
    Clip("upright-vp9", 720, 1280, 3 * FPS + 1, gop=128, codec="libvpx-vp9", bits=1_200_000),
)
SMALL = (
    Clip("small-60", 144, 256, 2 * FPS + 1, bits=100_000),
    Clip("small-30", 256, 144, 2 * FPS + 1, gop=30, bits=150_000),
)


def encode(folder: Path, clips: Sequence[Clip]) -> list[Path]:
    """Encode every clip into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_encode(folder, clip, seed) for seed, clip in enumerate(clips)]


def copies(masters: Sequence[Path], folder: Path, n: int, start: int = 0) -> list[Path]:
    """`n` files of distinct bytes, the masters in turn; what decoders see is the same.

    A box that players skip is put behind the end: `free` of MP4, `Void` of WebM. `start` is the
    number of the first copy, for a corpus that grows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = [master.read_bytes() for master in masters]
    made = []
    for number in range(start, start + n):
        master = masters[number % len(masters)]
        mark = struct.pack(">Q", number)
        box = b"\xec\x88" + mark if master.suffix == ".webm" else b"\0\0\0\x10free" + mark
        path = folder / f"{number:06d}{master.suffix}"
        path.write_bytes(contents[number % len(masters)] + box)
        made.append(path)
    return made


def bytes_of(paths: Sequence[Path]) -> int:
    """Bytes of all the files."""
    return sum(path.stat().st_size for path in paths)


def _encode(folder: Path, clip: Clip, seed: int) -> Path:
    webm = clip.codec == "libvpx-vp9"
    path = folder / f"{clip.name}.{'webm' if webm else 'mp4'}"
    sound_codec = "libopus" if webm else "aac"
    with av.open(str(path), "w", options={} if webm else {"movflags": "+faststart"}) as container:
        video = container.add_stream(clip.codec, rate=FPS, options=dict(SPEED[clip.codec]))
        sound = container.add_stream(sound_codec, rate=RATES[sound_codec], layout="stereo")
        assert isinstance(video, av.VideoStream) and isinstance(sound, av.AudioStream)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        video.bit_rate, video.gop_size = clip.bits, clip.gop
        sound.bit_rate = 96_000
        for number, picture in enumerate(_pictures(clip, seed)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
            if number % FPS == 0:  # a second of sound, or what is left
                _sing(container, sound, number, min(FPS, clip.frames - number), seed)
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def _pictures(clip: Clip, seed: int) -> Iterator[np.ndarray]:
    """Frames (3 h / 2, w) uint8, planar 4:2:0."""
    rng = np.random.default_rng(seed)
    w, h = clip.width, clip.height
    grain = [rng.normal(0, 2.5, (h, w)).astype(np.int16) for _ in range(5)]
    y, x = np.mgrid[:h, :w]
    for number in range(clip.frames):
        if number % SCENE == 0:
            ground, figure = (_texture(rng, h + PAN, w + PAN) for _ in range(2))
            tints = [_texture(rng, (h + PAN) // 2, (w + PAN) // 2, octaves=2) for _ in range(2)]
            pace, phase = rng.uniform(0.5, 2.0, 2), rng.uniform(0, 2 * np.pi, 2)
        t = number % SCENE
        dy, dx = ((1 + np.sin(pace * t / 30 + phase)) / 2 * (PAN - 2)).astype(int)
        light = ground[dy : dy + h, dx : dx + w].astype(np.int16)
        cy, cx = h * (0.5 + 0.3 * np.sin(t / 40 + phase[1])), w * (0.5 + 0.3 * np.cos(t / 25))
        top, left = int(cy - h / 5), int(cx - w / 5)
        r = slice(max(0, top), int(cy + h / 5)), slice(max(0, left), int(cx + w / 5))
        inside = ((y[r] - cy) / (h / 5)) ** 2 + ((x[r] - cx) / (w / 5)) ** 2 < 1
        light[r] = np.where(inside, figure[r], light[r])
        light += grain[number % len(grain)]
        planes = [np.clip(light, 0, 255).astype(np.uint8).reshape(-1)]
        for tint in tints:
            part = tint[dy // 2 : dy // 2 + h // 2, dx // 2 : dx // 2 + w // 2]
            planes.append(part.reshape(-1))
        yield np.concatenate(planes).reshape(h * 3 // 2, w)


def _texture(rng: np.random.Generator, height: int, width: int, octaves: int = 6) -> np.ndarray:
    """Noise of several octaves, (h, w) uint8: gradients below, detail above."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        grid = rng.normal(0, 1, (3 << octave, 3 << octave)).astype(np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) / 1.6**octave
    return np.clip(128 + 45 * total, 16, 240).astype(np.uint8)


def _sing(
    container: OutputContainer, stream: av.AudioStream, number: int, frames: int, seed: int
) -> None:
    """Encode the sound that goes with `frames` frames from frame `number` on."""
    rate = stream.rate
    first = number * rate // FPS
    t = (first + np.arange(frames * rate // FPS)) / rate
    rng = np.random.default_rng((seed, number))
    root = 220.0 * 2 ** (((seed * 5 + number // SCENE * 7) % 12) / 12)
    chord = sum(np.sin(2 * np.pi * root * step * t) for step in (1.0, 1.25, 1.5)) / 6
    wave = chord * (0.7 + 0.3 * np.sin(2 * np.pi * 2 * t)) + rng.normal(0, 0.03, t.size)
    pair = np.stack([wave, np.roll(wave, 40)]).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pair), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
    container.mux(stream.encode(frame))
