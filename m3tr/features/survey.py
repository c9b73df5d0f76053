"""One way through a file: sound is decoded as it comes, video packets are only noted.

The pictures are decoded afterwards, when the packets have told the real timeline.
"""

from functools import partial
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
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
NEITHER = "the file has neither picture nor sound"


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
        promised = promise(container, video, tracks, wanted)
        table = _table(video, broken, limits) if video is not None and wanted.frames else None
        heard = Listener(tracks[0], wanted, clock) if tracks and wanted.sample_rate else None
        check_duration(max(promised, (container.duration or 0) / av.time_base), limits)
        ended = walk(container, table, heard, clock)
        if table is not None:
            supply = Supply(container, table, again)
            try:
                seen = guarded(frames.sample, supply, wanted, clock, limits)
            except LimitError:
                raise
            except MediaError as error:
                broken["visual"] = error.reason
            finally:
                supply.close()
    sound, length = np.zeros(0, np.float32), 0.0
    if heard is not None:
        sound = best_track(heard, len(tracks), again, wanted, clock, broken)
        length = max(heard.seconds, sound.size / wanted.sample_rate)
    seconds = max(seen.seconds, length)
    check_duration(seconds, limits)
    if not seen.frames and not sound.size:
        if broken or ended:
            raise MediaError(next(iter(broken.values()), f"damaged: {ended}"))
        if wanted.frames and wanted.sample_rate:
            raise MediaError(NEITHER)
    if ended and not promised:
        raise MediaError(f"damaged: {ended}")
    if not broken and seconds < READABLE * promised - SLACK_SECONDS:
        raise MediaError(f"truncated: {promised:.1f} s promised, {seconds:.1f} s readable")
    return Media(seen.frames, sound, seen.pixels, seconds, broken)


def choose(container: InputContainer) -> tuple[VideoStream | None, list[AudioStream]]:
    """The video stream, covers of sound files apart, and the sound tracks, best first."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    tracks = sorted(container.streams.audio, key=lambda s: not s.disposition & Disposition.default)
    return (moving[0] if moving else None), tracks


def promise(
    container: InputContainer,
    video: VideoStream | None,
    tracks: list[AudioStream],
    wanted: Wanted,
) -> float:
    """Seconds that the header promises of what is read; 0 where it promises nothing."""
    whole = container.duration / av.time_base if container.duration else 0.0
    if video is not None and wanted.frames:
        if wanted.sample_rate or not tracks:
            return whole
        return _seconds(video)
    if not tracks or not wanted.sample_rate:
        return 0.0
    return min(_seconds(tracks[0]) or (0.0 if video else whole), wanted.sound_seconds)


def _seconds(stream: VideoStream | AudioStream) -> float:
    return float((stream.duration or 0) * (stream.time_base or 0))


def _table(video: VideoStream, broken: dict[str, str], limits: LimitSettings) -> Table | None:
    if video.codec_context is None:
        broken["visual"] = "no decoder for the picture"
        return None
    check_pixels(video.codec_context.width, video.codec_context.height, limits)
    return Table(video)


def walk(
    container: InputContainer, table: Table | None, heard: Listener | None, clock: Clock
) -> str:
    """Read to the end, or to the end of what is heard; why the file could not be read further."""
    streams = [part.stream for part in (table, heard) if part is not None]
    if not streams:
        return ""
    picture = table.stream.index if table is not None else -1
    ended = ""
    try:
        for packet in container.demux(*streams):
            clock.check()
            if packet.stream_index == picture and table is not None:
                table.enter(packet)
            elif heard is not None:
                heard.hear(packet)
                if heard.full and table is None:
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
) -> np.ndarray:
    """The wave of the first track that yields sound; `broken` where none does."""
    wave, trouble = heard.wave(), heard.trouble
    for place in range(1, tracks):
        if wave.size:
            break
        with again() as container:
            other = Listener(choose(container)[1][place], wanted, clock)
            walk(container, None, other, clock)
            wave, trouble = other.wave(), trouble or other.trouble
    if not wave.size and trouble:
        broken["audio"] = trouble
    return wave
