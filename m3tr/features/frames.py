"""The frames on screen at wanted times, exactly, without decoding what does not matter for them.

The table of packets tells when every frame is shown, so variable frame rates need no special
case and no header is believed. Only the groups of pictures that hold a wanted frame are decoded,
and of these only what the frame refers to. Where the packets do not tell enough (no times, a
codec without clean restarts, a frame that does not come out), everything is decoded, and the same
frames are chosen from what came out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from m3tr.features.media import Clock, MediaError, Wanted, check_duration, check_pixels
from m3tr.features.packets import UNKNOWN, LostError, Supply, Table
from m3tr.features.pictures import Pictures
from m3tr.features.settings import LimitSettings

BAD_PACKETS = 0.2  # share of undecodable packets from which a stream counts as damaged
# frames of these that are marked as referred to by nobody can be left out without any trace
SKIPPING = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video"})


@dataclass
class Reading:
    """Pictures in order of time, real seconds of the stream, pixels of its largest frame."""

    frames: list[np.ndarray]
    seconds: float
    pixels: int


def sample(supply: Supply, wanted: Wanted, clock: Clock, limits: LimitSettings) -> Reading:
    """The distinct frames on screen at the middles of `wanted.frames` parts of the duration.

    Parameters
    ----------
    supply : Supply
        Packets of a stream whose decoder was not used yet.

    Raises
    ------
    MediaError
        Damaged, too many pixels, too long, too slow.
    """
    reader, table, n = _Reader(supply, wanted.side, clock, limits), supply.table, wanted.frames
    if table.restartable:
        times = table.pts[table.shown]
        span = duration(times, table.duration[table.shown], reader.gap)
        seconds = span * reader.unit
        check_duration(seconds, limits)
        picks = np.flatnonzero(table.shown)[on_screen(times, span, n)]
        try:
            return Reading(reader.groups(picks), seconds, reader.pixels)
        except LostError:
            pass
    try:
        return reader.everything(n)
    except LostError:
        raise MediaError("damaged: the file gives other packets each time it is read") from None


def duration(times: np.ndarray, lasting: np.ndarray, gap: float) -> float:
    """From the first frame to the end of the last; one without a length lasts as the one before.

    Parameters
    ----------
    times, lasting : ndarray (frames,)
        Presentation times and lengths in ticks; a length of 0 is unknown.
    gap : float
        Ticks of a frame where nothing else is known.
    """
    last = int(np.argmax(times))
    length = float(lasting[last])
    if length <= 0:
        earlier = times[times < times[last]]
        length = float(times[last] - earlier.max()) if earlier.size else gap
    return float(times[last] - times.min()) + length


def on_screen(times: np.ndarray, span: float, n: int) -> np.ndarray:
    """Indices, in order of time, of the frames shown at the middles of `n` equal parts."""
    order = np.argsort(times, kind="stable")
    wanted = times.min() + (np.arange(n) + 0.5) / n * span
    places = np.searchsorted(times[order], wanted, side="right") - 1
    return order[np.unique(np.maximum(places, 0))]


def by_count(count: int, n: int) -> np.ndarray:
    """Indices at the middles of `n` equal parts of `count` frames."""
    return np.unique(((np.arange(n) + 0.5) / n * count).astype(np.int64))


class _Reader:
    """Decoding of one stream; counts what cannot be decoded."""

    def __init__(
        self, supply: Supply, side: int | None, clock: Clock, limits: LimitSettings
    ) -> None:
        self.supply, self.clock, self.limits = supply, clock, limits
        self.table = supply.table
        self.stream = self.table.stream
        self.context = self.stream.codec_context
        self.picture = Pictures(self.stream, side)
        self.unit = float(self.stream.time_base or 0) or 1 / av.time_base
        self.gap = 1 / float(self.stream.average_rate or 25) / self.unit
        self.pixels = self.context.width * self.context.height
        self.fresh = True
        self.sent = self.bad = 0

    def groups(self, picks: np.ndarray) -> list[np.ndarray]:
        """Pictures of the packets `picks`, in order of time; LostError where one does not come."""
        table = self.table
        wanted = {int(table.pts[i]): place for place, i in enumerate(picks)}
        found: list[np.ndarray | None] = [None] * len(picks)
        skipping = table.codec in SKIPPING
        for first, last, members in runs(table, picks):
            self._restart()
            missing = len(members)
            for frame in self._decoded(self.supply.run(first, last), members, skipping):
                place = wanted.get(UNKNOWN if frame.pts is None else frame.pts)
                if place is not None and found[place] is None:
                    found[place] = self.picture(frame)
                    missing -= 1
            if missing or self.bad > BAD_PACKETS * self.sent:
                raise LostError
        return [picture for picture in found if picture is not None]

    def everything(self, n: int) -> Reading:
        """Decode all; a second time where other frames came out than the packets promised."""
        guess = self._guess(n)
        for _ in range(2):
            self._restart()
            self.sent = self.bad = 0
            kept: dict[int, np.ndarray] = {}
            times, lasting = [], []
            packets = self.supply.run(0, len(self.table) - 1)
            for place, frame in enumerate(self._decoded(packets, set(), False)):
                times.append(UNKNOWN if frame.pts is None else frame.pts)
                lasting.append(frame.duration or 0)
                if place in guess:
                    kept[place] = self.picture(frame)
            if not times:
                raise MediaError("damaged: no frame can be decoded")
            if self.bad > BAD_PACKETS * self.sent:
                raise MediaError(f"damaged: {self.bad} of {self.sent} packets cannot be decoded")
            picks, seconds = self._choose(np.array(times), np.array(lasting), n)
            check_duration(seconds, self.limits)
            if all(int(place) in kept for place in picks):
                return Reading([kept[int(place)] for place in picks], seconds, self.pixels)
            guess = {int(place) for place in picks}
        raise MediaError("damaged: the frames come out differently each time")

    def _guess(self, n: int) -> set[int]:
        table = self.table
        shown = np.sort(table.pts[table.shown])
        if shown.size and shown[0] != UNKNOWN:
            span = duration(shown, np.zeros(shown.size), self.gap)
            return set(on_screen(shown, span, n).tolist())
        return set(by_count(len(table), n).tolist())

    def _choose(self, times: np.ndarray, lasting: np.ndarray, n: int) -> tuple[np.ndarray, float]:
        """Places of the wanted frames among those that came out, and the seconds of all."""
        if times.min() == UNKNOWN:
            return by_count(times.size, n), times.size * self.gap * self.unit
        span = duration(times, lasting, self.gap)
        return on_screen(times, span, n), span * self.unit

    def _restart(self) -> None:
        if not self.fresh:
            self.context.flush_buffers()
        self.fresh = False

    def _decoded(
        self, packets: Iterator[tuple[int, Packet]], wanted: set[int], skipping: bool
    ) -> Iterator[VideoFrame]:
        """Frames of the packets; with `skipping`, unwanted ones only where others need them."""
        leaving = False
        for index, packet in packets:
            self.clock.check()
            if skipping and leaving is (index in wanted):
                leaving = not leaving
                self.context.skip_frame = "NONREF" if leaving else "DEFAULT"
            yield from self._send(packet)
        self.context.skip_frame = "DEFAULT"
        yield from self._send(None)

    def _send(self, packet: Packet | None) -> list[VideoFrame]:
        self.sent += packet is not None
        try:
            frames = self.context.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:  # decoders have more words for it than "invalid data"
            self.bad += 1
            return []
        for frame in frames:
            pixels = frame.width * frame.height
            if pixels > self.pixels:
                check_pixels(frame.width, frame.height, self.limits)
                self.pixels = pixels
        return frames


def runs(table: Table, picks: np.ndarray) -> Iterator[tuple[int, int, set[int]]]:
    """First and last packet of every stretch to decode, and the wanted ones among them."""
    first = last = -1
    members: set[int] = set()
    for index in sorted(int(i) for i in picks):
        start = table.start_of(index)
        if members and start > last:
            yield first, last, members
            members = set()
        if not members:
            first = start
        first, last = min(first, start), index
        members.add(index)
    if members:
        yield first, last, members
