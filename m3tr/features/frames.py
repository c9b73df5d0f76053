"""Frames at equal distances in time, from any video the decoder can read.

A frame is chosen because it is on screen at the wanted time, so variable frame rates need no
special case. Short videos are read through once, long ones by seeking; where the duration is not
known, or the header lies about it, frames are kept while reading and thinned out.
"""

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from m3tr.features.media import FRAME_SIDE, Clock, MediaError, check_pixels
from m3tr.features.settings import LimitSettings
from m3tr.features.stills import shrink

SEEK_ABOVE_SECONDS = 30.0  # shorter videos are read through: seeking costs a group of pictures
BAD_PACKETS = 0.2  # share of undecodable packets from which a file counts as damaged


def sample(
    container: InputContainer, n: int, clock: Clock, limits: LimitSettings
) -> tuple[list[np.ndarray], float]:
    """Up to `n` frames at the middles of `n` equal parts of the duration.

    Returns
    -------
    frames : list of ndarray (h, w, 3) uint8
        Distinct frames in order of time; fewer than `n` where the video shows fewer.
    end : float
        Seconds from the start of the video to the end of its last readable frame.
    """
    stream = next((s for s in container.streams.video if not _is_cover(s)), None)
    if stream is None:
        return [], 0.0
    check_pixels(stream.codec_context.width, stream.codec_context.height, limits)
    duration = _duration(container, stream)
    if duration > SEEK_ABOVE_SECONDS:
        found = _by_seeking(container, stream, n, duration, clock, limits)
        if len(found) == n:
            return found, duration
        container.seek(0)
    if duration > 0:
        found, end = _in_one_pass(container, stream, n, duration, clock, limits)
        if abs(end - duration) <= 0.1 * duration:
            return found, end
        container.seek(0)
    return _without_duration(container, stream, n, clock, limits)


def _is_cover(stream: VideoStream) -> bool:
    # the cover picture of a sound file is announced as a video stream
    return "attached_pic" in str(stream.disposition)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration:
        return stream.duration * _unit(stream)
    return container.duration / av.time_base if container.duration else 0.0


def _decoded(
    container: InputContainer, stream: VideoStream, clock: Clock, limits: LimitSettings
) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with their times in seconds; a few undecodable packets are passed over."""
    rate = float(stream.average_rate or 25)
    packets = bad = count = 0
    for packet in container.demux(stream):
        clock.check()
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            bad += 1
            continue
        for frame in frames:
            check_pixels(frame.width, frame.height, limits)
            seconds = frame.time if frame.time is not None else count / rate
            count += 1
            yield seconds, frame
    if bad > BAD_PACKETS * packets:
        raise MediaError(f"damaged: {bad} of {packets} packets cannot be decoded")


def _in_one_pass(
    container: InputContainer,
    stream: VideoStream,
    n: int,
    duration: float,
    clock: Clock,
    limits: LimitSettings,
) -> tuple[list[np.ndarray], float]:
    """Read everything; only the frames that are shown at the wanted times become pictures."""
    start = (stream.start_time or 0) * _unit(stream)
    wanted = [start + (i + 0.5) / n * duration for i in range(n)]
    picture, found = _Pictures(stream), []
    shown: VideoFrame | None = None  # not None: on screen, and not taken yet
    last, gap = start, 0.0
    for seconds, frame in _decoded(container, stream, clock, limits):
        due = False
        while wanted and wanted[0] < seconds:
            wanted.pop(0)
            due = True
        if due and shown is not None:
            found.append(picture(shown))
        gap = seconds - last if seconds > last else gap
        last, shown = max(last, seconds), frame
    if shown is not None and wanted:
        found.append(picture(shown))
    return found, last + gap - start


def _unit(stream: VideoStream) -> float:
    """Seconds of one tick of the stream's clock."""
    return float(stream.time_base or 0) or 1 / av.time_base


def _without_duration(
    container: InputContainer, stream: VideoStream, n: int, clock: Clock, limits: LimitSettings
) -> tuple[list[np.ndarray], float]:
    """Read everything, keeping frames at a distance that doubles whenever too many are held."""
    picture = _Pictures(stream)
    kept: list[tuple[float, np.ndarray]] = []
    capacity, step = 8 * n, 0.0
    first = last = gap = 0.0
    seen = False
    for seconds, frame in _decoded(container, stream, clock, limits):
        if not seen:
            first = last = seconds
            seen = True
        gap = seconds - last if seconds > last else gap
        last = max(last, seconds)
        if kept and seconds < kept[-1][0] + step:
            continue
        kept.append((seconds, picture(frame)))
        if len(kept) > capacity:
            step = 2 * (last - first) / capacity
            thinned: list[tuple[float, np.ndarray]] = []
            for item in kept:
                if not thinned or item[0] >= thinned[-1][0] + step:
                    thinned.append(item)
            kept = thinned
    if not kept:
        raise MediaError("damaged: no frame can be decoded")
    times = np.array([seconds for seconds, _ in kept])
    end = last + (gap or 1 / float(stream.average_rate or 25))
    wanted = first + (np.arange(n) + 0.5) / n * (end - first)
    on_screen = np.unique(np.maximum(np.searchsorted(times, wanted, side="right") - 1, 0))
    return [kept[i][1] for i in on_screen], end - first


def _by_seeking(
    container: InputContainer,
    stream: VideoStream,
    n: int,
    duration: float,
    clock: Clock,
    limits: LimitSettings,
) -> list[np.ndarray]:
    """One seek a wanted frame; fewer than `n` frames mean that seeking does not work here."""
    unit = _unit(stream)
    start = (stream.start_time or 0) * unit
    picture, found = _Pictures(stream), []
    previous = -np.inf
    for i in range(n):
        wanted = start + (i + 0.5) / n * duration
        try:
            container.seek(int(wanted / unit), stream=stream, backward=True)
            shown: tuple[float, VideoFrame] | None = None
            for seconds, frame in _decoded(container, stream, clock, limits):
                if shown is not None and seconds > wanted:
                    break
                shown = (seconds, frame)
        except av.FFmpegError:
            return []
        if shown is None or shown[0] <= previous:
            return []
        previous = shown[0]
        found.append(picture(shown[1]))
    return found


class _Pictures:
    """Frames to RGB (h, w, 3) uint8: square pixels, upright, longer side at most 256 pixels."""

    def __init__(self, stream: VideoStream) -> None:
        self.ratio = float(stream.sample_aspect_ratio or 1) or 1.0
        self.scaler = VideoReformatter()  # kept: setting one up costs more than its use

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        width, height = frame.width * self.ratio, float(frame.height)
        scale = min(1.0, FRAME_SIDE / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        try:
            small = self.scaler.reformat(
                frame, *size, format="rgb24", interpolation="AREA"
            ).to_ndarray()
        except (av.FFmpegError, ValueError):  # the scaler refuses some tiny sizes
            small = shrink(frame.to_ndarray(format="rgb24"))
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(small, turns))
