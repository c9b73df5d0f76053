"""One way through a file: sound is decoded as it comes, video packets are only noted.

The pictures are decoded afterwards, when the packets have told the real timeline.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from m3tr.features import frames
from m3tr.features.media import (
    Clock,
    LimitError,
    Media,
    MediaError,
    Wanted,
    check_complete,
    check_duration,
    check_pixels,
    guarded,
    open_container,
    short,
)
from m3tr.features.packets import Supply, Table
from m3tr.features.settings import LimitSettings
from m3tr.features.sound import Listener

READABLE = 0.75  # share of the promised seconds below which a file counts as cut short
SLACK_SECONDS = 0.5  # what a promise may be wrong by, however short the file
# their headers tell no length
GUESSED = {"aac", "amr", "mpeg", "mpegts", "mpegvideo", "m4v", "h264", "hevc"}
FIRST_FRAME = 4_096  # bytes that hold the first frame of an MP3
NEITHER = "the file has neither picture nor sound"


@dataclass
class Promise:
    """What headers tell of the length of a file, whatever is wanted of it.

    Attributes
    ----------
    streams : dict of int to float
        Seconds that the picture and the sound tracks promise, by index; 0 where one is silent.
    whole : float
        Seconds of the container, where no stream has its own; 0 where it promises nothing.
    guessed : bool
        The seconds are guessed from size and bit rate or from the last bytes: no promise.
    """

    streams: dict[int, float]
    whole: float
    guessed: bool

    @property
    def longest(self) -> float:
        return max([self.whole, *self.streams.values()])

    @property
    def declared(self) -> float:
        return 0.0 if self.guessed else self.longest

    def of(self, index: int) -> float:
        """What a stream is held to."""
        return 0.0 if self.guessed else self.streams[index] or self.whole


class Extent:
    """Seconds from the beginning to the end of the last packet of any of these streams."""

    def __init__(self, streams: Iterable[int] = ()) -> None:
        self.streams = tuple(streams)
        self.first = self.last = 0.0

    @property
    def seconds(self) -> float:
        return self.last - self.first

    def note(self, packet: Packet) -> None:
        if packet.pts is not None and packet.size:
            unit = float(packet.time_base or 0)
            self.first = min(self.first, packet.pts * unit)
            self.last = max(self.last, (packet.pts + (packet.duration or 0)) * unit)


def read_streams(path: Path, wanted: Wanted, clock: Clock, limits: LimitSettings) -> Media:
    """Pictures and sound of a container (`m3tr.features.media.read`)."""
    again = partial(open_container, path, limits)
    broken: dict[str, str] = {}
    seen = frames.Reading([], 0.0, 0)
    with again() as container:
        check_complete(container, path)
        video, tracks = choose(container)
        if video is None and not tracks:
            raise MediaError(NEITHER)
        promised = promise(container, path, video, tracks)
        check_duration(promised.declared, limits)
        table = _table(video, broken, limits) if video is not None and wanted.frames else None
        heard = Listener(tracks[0], wanted, clock) if tracks and wanted.sample_rate else None
        # what the container alone promises may be any stream's, of subtitles too
        extent = Extent(range(len(container.streams)) if promised.whole else ())
        ended = walk(container, table, heard, clock, extent, to_end=not promised.declared)
        if table is not None:
            supply = Supply(container, table, again)
            try:
                seen = guarded(frames.sample, supply, wanted, clock, limits)
                check_length(promised.of(table.stream.index), max(seen.seconds, extent.seconds))
            except LimitError:
                raise
            except MediaError as error:
                broken["visual"] = error.reason
            finally:
                supply.close()
    sound, length = np.zeros(0, np.float32), 0.0
    if heard is not None:
        sound, heard = best_track(heard, len(tracks), again, wanted, clock, broken)
        length = max(heard.seconds, sound.size / wanted.sample_rate)
        told = min(promised.of(heard.index), wanted.sound_seconds)
        try:
            check_length(told, max(length, extent.seconds))
        except MediaError as error:
            broken.setdefault("audio", error.reason)
    seconds = max(promised.declared, seen.seconds, length, extent.seconds)
    check_duration(seconds, limits)
    pictures = [] if "visual" in broken else seen.frames
    sound = sound[:0] if "audio" in broken else sound
    if not pictures and not sound.size:
        if broken or ended:
            raise MediaError(next(iter(broken.values()), f"damaged: {ended}"))
        if wanted.frames and wanted.sample_rate:
            raise MediaError(NEITHER)
    guess = promised.longest
    if ended and not promised.declared and (not guess or is_short(guess, seconds)):
        raise MediaError(f"damaged: {ended}")
    return Media(pictures, sound, seen.pixels, seconds, broken)


def is_short(promised: float, readable: float) -> bool:
    """Whether so many seconds of so many count as cut short."""
    return readable < READABLE * promised - SLACK_SECONDS


def check_length(promised: float, readable: float) -> None:
    """Refuse a stream that ends long before its promise."""
    if is_short(promised, readable):
        raise MediaError(f"truncated: {promised:.1f} s promised, {readable:.1f} s readable")


def choose(container: InputContainer) -> tuple[VideoStream | None, list[AudioStream]]:
    """The video stream, covers of sound files apart, and the sound tracks, best first."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    tracks = sorted(container.streams.audio, key=lambda s: not s.disposition & Disposition.default)
    return (moving[0] if moving else None), tracks


def promise(
    container: InputContainer, path: Path, video: VideoStream | None, tracks: list[AudioStream]
) -> Promise:
    """What the headers tell; a longer subtitle or time code track promises nothing."""
    streams = {s.index: _seconds(s) for s in (video, *tracks) if s is not None}
    whole = max(0.0, (container.duration or 0) / av.time_base)
    names = set(container.format.name.split(","))
    guessed = bool(names & GUESSED) or ("mp3" in names and not tells_length(path))
    return Promise(streams, 0.0 if any(streams.values()) else whole, guessed)


def tells_length(path: Path) -> bool:
    """Whether the first frame of an MP3 counts the others (Xing, Info or VBRI)."""
    with path.open("rb") as file:
        head = file.read(10)
        tag = 0
        if head.startswith(b"ID3"):
            tag = 10 + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
        file.seek(tag)
        first = file.read(FIRST_FRAME)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def _seconds(stream: VideoStream | AudioStream) -> float:
    return max(0.0, float((stream.duration or 0) * (stream.time_base or 0)))


def _table(video: VideoStream, broken: dict[str, str], limits: LimitSettings) -> Table | None:
    if video.codec_context is None:
        broken["visual"] = "no decoder for the picture"
        return None
    check_pixels(video.codec_context.width, video.codec_context.height, limits)
    return Table(video)


def walk(
    container: InputContainer,
    table: Table | None,
    heard: Listener | None,
    clock: Clock,
    extent: Extent,
    to_end: bool = False,
) -> str:
    """Read to the end, or to the end of what is heard; why the file could not be read further."""
    streams: list[Stream] = [part.stream for part in (table, heard) if part is not None]
    if not streams:
        return ""
    if extent.streams:
        streams = [container.streams[index] for index in extent.streams]
    sound = heard.index if heard is not None else -1
    picture = table.stream.index if table is not None else -1
    ended = ""
    try:
        for packet in container.demux(*streams):
            clock.check()
            if extent.streams:
                extent.note(packet)
            if packet.stream_index == picture and table is not None:
                table.enter(packet)
            elif packet.stream_index == sound and heard is not None:
                heard.hear(packet)
                if heard.full and table is None and not to_end:
                    break
    except MemoryError:
        raise
    except av.FFmpegError as error:
        ended = short(error)
    if table is not None:
        table.close()
    if heard is not None:
        heard.finish()
    return ended


def best_track(
    heard: Listener,
    tracks: int,
    again: partial[InputContainer],
    wanted: Wanted,
    clock: Clock,
    broken: dict[str, str],
) -> tuple[np.ndarray, Listener]:
    """The first track that yields sound, and its wave; `broken` where none does."""
    wave, trouble = heard.wave(), heard.trouble
    for place in range(1, tracks):
        if wave.size:
            break
        with again() as container:
            other = Listener(choose(container)[1][place], wanted, clock)
            walk(container, None, other, clock, Extent())
            wave, trouble = other.wave(), trouble or other.trouble
            heard = other if wave.size else heard
    if not wave.size and trouble:
        broken["audio"] = trouble
    return wave, heard
