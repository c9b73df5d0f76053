"""Reading one media file: what is looked at, what is refused, and why (docs/features.md).

Nothing here trusts the file. The path must stay inside the data folder, the container must be one
of a short list (a playlist renamed to .mp4 would otherwise make the demuxer open other files), and
bytes, pixels and processor time are bounded.
"""

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from m3tr.data.boxes import account
from m3tr.features.settings import LimitSettings

REPLACE = "replace the file, or leave the media cell empty if the video has none"
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,"
    "ogg,wav,w64,mp3,aac,flac,amr,aiff,caf,gif"
)
CHECK_EVERY = 8  # calls of `Clock.check`


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
    """What is read of a file.

    Attributes
    ----------
    frames : int
        Pictures, at the middles of as many equal parts of the duration; 0: none is read.
    side : int or None
        Longer side of a kept picture at most; None: as it is stored.
    sample_rate : int
        Hz of the sound; 0: none is read.
    sound_seconds : float
        Only this much of the beginning is heard.
    """

    frames: int = 6
    side: int | None = 256
    sample_rate: int = 16_000
    sound_seconds: float = 120.0


@dataclass(frozen=True)
class Media:
    """What one file holds.

    Attributes
    ----------
    frames : list of ndarray (h, w, 3) uint8
        RGB, upright, in order of time; empty where there is no picture.
    sound : ndarray (n,) float32
        Mono, at the asked sample rate; empty where there is no sound.
    pixels : int
        Width times height of the largest picture met; 0 without pictures.
    seconds : float
        Length of the file: what its headers promise or what was read, whichever is longer. The
        same whatever is wanted of it.
    broken : dict
        "visual" or "audio" -> why that one cannot be used although the other can.
    """

    frames: list[np.ndarray]
    sound: np.ndarray
    pixels: int = 0
    seconds: float = 0.0
    broken: dict[str, str] = field(default_factory=dict)


class LimitError(MediaError):
    """A file that costs more than it may: none of it is used."""


class Clock:
    """Processor time spent on one file; `check` raises once the limit is passed."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.start = time.process_time()
        self.calls = 0

    def check(self) -> None:
        self.calls += 1
        if self.calls % CHECK_EVERY:  # asking the kernel costs as much as decoding a tiny packet
            return
        if time.process_time() - self.start > self.limit:
            raise LimitError(
                f"decoding takes longer than {self.limit:g} s",
                "shorten or re-encode the file, or raise features.limits.max_seconds_decoding",
            )


def locate(root: Path, media: str, limits: LimitSettings) -> Path:
    """The file of a media cell, checked before anything is read.

    Parameters
    ----------
    root : Path
        The folder that media paths are relative to, resolved (`Path.resolve`).
    media : str
        The cell of the videos table.
    limits : LimitSettings
        `max_bytes` is checked here.

    Raises
    ------
    MediaError
        Outside the folder, missing, not a regular file, unreadable, empty or too large.
    """
    if "\0" in media:
        raise MediaError("the path holds a null character", "correct the media cell")
    try:
        # strings, not paths: this is done for every video of every run
        name = os.path.realpath(os.path.join(root, media))
        inside = os.path.join(name, "").startswith(os.path.join(root, ""))
        found = os.stat(name) if inside else None
    except FileNotFoundError:
        raise MediaError(
            "the file does not exist", "add the file or empty the media cell"
        ) from None
    except (OSError, ValueError) as error:  # name too long, loop of links, lone surrogates
        told = getattr(error, "strerror", None) or "not a path"
        raise MediaError(
            f"the path cannot be followed ({told})", "correct the media cell"
        ) from None
    if found is None:
        raise MediaError(
            "the path leads outside the data folder",
            "put the file itself (no link, no '..') under the data folder",
        )
    if not stat.S_ISREG(found.st_mode):
        raise MediaError("not a regular file", "give the path of a file, not of a folder")
    if found.st_size == 0:
        raise MediaError("the file is empty (0 bytes)")
    if not os.access(name, os.R_OK):
        raise MediaError("the file cannot be opened (no permission)", "make it readable")
    if found.st_size > limits.max_bytes:
        raise MediaError(
            f"the file has {found.st_size} bytes, more than {limits.max_bytes}",
            "re-encode it smaller or raise features.limits.max_bytes",
        )
    return Path(name)


def check_pixels(width: int, height: int, limits: LimitSettings) -> None:
    """Refuse a picture of more than `limits.max_pixels` pixels."""
    check_area(width * height, limits, f"{width} x {height}")


def check_area(pixels: int, limits: LimitSettings, shown: str | None = None) -> None:
    """As `check_pixels`, where only the product is known; `shown` says it in the sentence."""
    if pixels > limits.max_pixels:
        raise LimitError(
            f"a picture of {shown or pixels} pixels, more than {limits.max_pixels}",
            "re-encode it smaller or raise features.limits.max_pixels",
        )


def check_duration(seconds: float, limits: LimitSettings) -> None:
    """Refuse a file of more than `limits.max_duration_s`."""
    if seconds > limits.max_duration_s:
        raise LimitError(
            f"{seconds:.0f} s long, more than {limits.max_duration_s:g} s",
            "shorten the file or raise features.limits.max_duration_s",
        )


def open_container(path: Path, limits: LimitSettings) -> InputContainer:
    """Open a container of one of the allowed formats; decoders get one thread each."""
    options = {"max_pixels": str(limits.max_pixels)}
    try:
        container = av.open(
            str(path),
            "r",
            options=options,
            metadata_errors="replace",  # a title in another encoding breaks nothing
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
        )
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise MediaError(f"not a readable video or sound file ({short(error)})") from None
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.codec_context is not None:  # None: there is no decoder
            stream.codec_context.thread_count = 1
            stream.codec_context.options = options  # the size may also change on the way
    return container


def short(error: BaseException) -> str:
    """The message of a decoder's error without the path."""
    message = getattr(error, "strerror", None) or str(error)
    return " ".join(message.split())[:120] or "the decoder says no more"


def guarded(read: Callable[..., Any], *args: Any) -> Any:
    """`read(*args)` with every decoder error told as a `MediaError`."""
    try:
        return read(*args)
    except MediaError:
        raise
    except MemoryError:  # the decoder's ENOMEM too
        raise LimitError(
            "decoding takes more memory than a worker may have",
            "re-encode it smaller or raise features.limits.max_memory",
        ) from None
    except Exception as error:  # decoders raise many kinds; none may end the stage
        raise MediaError(f"damaged: {short(error)}") from None


def read(path: Path, wanted: Wanted, limits: LimitSettings | None = None) -> Media:
    """Pictures and sound of one file.

    Parameters
    ----------
    path : Path
        A video, a sound file or a still, told by the content, not the name.
    wanted : Wanted
        How much of it; a shorter video or a still gives fewer pictures.
    limits : LimitSettings, optional
        What the file may cost.

    Returns
    -------
    Media
        Where one modality is broken and the other is not, the good one, and `broken`.

    Raises
    ------
    MediaError
        Unreadable, truncated, beyond a limit, or with nothing that can be used.
    """
    from m3tr.features import stills, survey

    limits = limits or LimitSettings()
    clock = Clock(limits.max_seconds_decoding)
    reader = stills.read_still if stills.is_still(path) else survey.read_streams
    media: Media = guarded(reader, path, wanted, clock, limits)
    return media


def check_complete(container: InputContainer, path: Path) -> None:
    """Refuse a file that ends before its headers say, or whose index points behind its end."""
    size = path.stat().st_size
    told = account(path)
    if told is not None and told.end > size:
        raise MediaError(f"truncated: the headers declare {told.end} bytes, the file has {size}")
    for stream in container.streams:
        try:
            entries = stream.index_entries
            last = entries[len(entries) - 1] if len(entries) else None
        except (AttributeError, IndexError):
            continue
        # a size that does not fit its field comes out negative
        if last is not None and (last.size < 0 or last.pos + last.size > size):
            raise MediaError(f"truncated: the index names bytes behind the end ({size} bytes)")
