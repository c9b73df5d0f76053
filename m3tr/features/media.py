"""Reading one media file: what is looked at, what is refused, and why (docs/features.md).

Nothing here trusts the file. The path must stay inside the data folder, the container must be one
of a short list (a playlist renamed to .mp4 would otherwise make the demuxer open other files), and
bytes, pixels and processor time are bounded.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from m3tr.features.settings import LimitSettings

FRAME_SIDE = 256  # the longer side of a kept frame, in pixels

REPLACE = "replace the file, or leave the media cell empty if the video has none"
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,"
    "ogg,wav,w64,mp3,aac,flac,amr,aiff,caf,gif"
)


class MediaError(Exception):
    """A media file that cannot be used.

    Parameters
    ----------
    reason : str
        What is wrong with the file.
    remedy : str
        What the owner of the file can do.
    """

    def __init__(self, reason: str, remedy: str = REPLACE) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a file; `frames` = 0: no picture, `sample_rate` = 0: no sound."""

    frames: int = 6
    side: int | None = FRAME_SIDE
    sample_rate: int = 16_000
    sound_seconds: float = 120.0


@dataclass(frozen=True)
class Media:
    """What one file holds.

    Attributes
    ----------
    frames : list of ndarray (h, w, 3) uint8
        RGB, upright, in order of time, longer side at most 256; empty where there is no picture.
    sound : ndarray (n,) float32
        Mono, at the asked sample rate; empty where there is no sound.
    """

    frames: list[np.ndarray]
    sound: np.ndarray
    pixels: int = 0
    seconds: float = 0.0


class Clock:
    """Processor time spent on one file; `check` raises once the limit is passed."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.start = time.process_time()

    def check(self) -> None:
        if time.process_time() - self.start > self.limit:
            raise MediaError(
                f"decoding takes longer than {self.limit:g} s",
                "shorten or re-encode the file, or raise features.limits.max_seconds_decoding",
            )


def locate(data_dir: Path, media: str, limits: LimitSettings) -> Path:
    """The file of a media cell, checked before anything is read.

    Parameters
    ----------
    data_dir : Path
        The folder that media paths are relative to.
    media : str
        The cell of the videos table.
    limits : LimitSettings
        `max_bytes` is checked here.

    Raises
    ------
    MediaError
        Outside the folder, missing, not a regular file, empty or too large.
    """
    if "\0" in media:
        raise MediaError("the path holds a null character", "correct the media cell")
    root = data_dir.resolve()
    try:
        path = (root / media).resolve()
        inside = path.is_relative_to(root)
        exists, regular = path.exists(), path.is_file()
        size = path.stat().st_size if regular else 0
    except (OSError, RuntimeError) as error:  # name too long, loop of links, no permission
        raise MediaError(
            f"the path cannot be followed ({error})", "correct the media cell"
        ) from None
    if not inside:
        raise MediaError(
            "the path leads outside the data folder",
            "put the file itself (no link, no '..') under the data folder",
        )
    if not exists:
        raise MediaError("the file does not exist", "add the file or empty the media cell")
    if not regular:
        raise MediaError("not a regular file", "give the path of a file, not of a folder")
    if size == 0:
        raise MediaError("the file is empty (0 bytes)")
    if size > limits.max_bytes:
        raise MediaError(
            f"the file has {size} bytes, more than {limits.max_bytes}",
            "re-encode it smaller or raise features.limits.max_bytes",
        )
    return path


def check_pixels(width: int, height: int, limits: LimitSettings) -> None:
    """Refuse a picture of more than `limits.max_pixels` pixels."""
    if width * height > limits.max_pixels:
        raise MediaError(
            f"a picture of {width} x {height} pixels, more than {limits.max_pixels}",
            "re-encode it smaller or raise features.limits.max_pixels",
        )


def open_container(path: Path, limits: LimitSettings) -> InputContainer:
    """Open a container of one of the allowed formats; decoders get one thread each."""
    options = {"max_pixels": str(limits.max_pixels)}
    try:
        container = av.open(
            str(path),
            "r",
            options=options,
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
        )
    except av.FFmpegError as error:
        raise MediaError(f"not a readable video or sound file ({short(error)})") from None
    for stream in (*container.streams.video, *container.streams.audio):
        stream.codec_context.thread_count = 1
    return container


def short(error: BaseException) -> str:
    """The message of a decoder's error without the path."""
    message = getattr(error, "strerror", None) or str(error)
    return " ".join(message.split())[:120] or type(error).__name__


def guarded(read: Callable[..., Any], *args: Any) -> Any:
    """`read(*args)` with every decoder error told as a `MediaError`."""
    try:
        return read(*args)
    except MediaError:
        raise
    except MemoryError:
        raise MediaError("not enough memory to decode it", "re-encode it smaller") from None
    except Exception as error:  # decoders raise many kinds; none may end the stage
        raise MediaError(f"damaged: {short(error)}") from None


def read(path: Path, wanted: Wanted, limits: LimitSettings | None = None) -> Media:
    """Decode one file."""
    from m3tr.features import frames as video
    from m3tr.features import sound as audio
    from m3tr.features import stills

    limits = limits or LimitSettings()
    clock = Clock(limits.max_seconds_decoding)
    if stills.is_still(path):
        picture = guarded(stills.read_still, path, limits)
        return Media([picture], np.zeros(0, np.float32), picture.shape[0] * picture.shape[1], 0.0)
    with guarded(open_container, path, limits) as container:
        promised = container.duration / av.time_base if container.duration else 0.0
        check_complete(container, path)
        pictures, seen = guarded(video.sample, container, max(wanted.frames, 1), clock, limits)
    with guarded(open_container, path, limits) as container:
        wave, heard = guarded(
            audio.waveform, container, wanted.sample_rate or 16_000, wanted.sound_seconds, clock
        )
    if not pictures and wave.size == 0:
        raise MediaError("the file has neither picture nor sound")
    end = max(seen, heard)
    if end < 0.75 * min(promised, wanted.sound_seconds) - 0.5:
        raise MediaError(f"truncated: {promised:.1f} s promised, {end:.1f} s readable")
    return Media(pictures, wave, 0, end)


def check_duration(seconds: float, limits: LimitSettings) -> None:
    """Refuse a file that is longer than `limits.max_duration_s`."""
    if seconds > limits.max_duration_s:
        raise MediaError(
            f"{seconds:.0f} s long, more than {limits.max_duration_s:g}",
            "cut it or raise features.limits.max_duration_s",
        )


def check_complete(container: InputContainer, path: Path) -> None:
    """Refuse a file whose index points behind its end (an MP4 cut short)."""
    size = path.stat().st_size
    for stream in container.streams:
        try:
            entries = stream.index_entries
            last = entries[len(entries) - 1] if len(entries) else None
        except (AttributeError, IndexError):
            continue
        if last is not None and last.pos + last.size > size:
            raise MediaError(f"truncated: the index names bytes behind the end ({size} bytes)")
