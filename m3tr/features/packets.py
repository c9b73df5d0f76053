"""The packets of a video stream: what the demuxer says of each, and how to get them again.

Headers may lie about the duration, packets cannot: their times are the real timeline. The table
holds some 40 bytes a packet; the packets themselves are kept only of a small file.
"""

from array import array
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

UNKNOWN = -(2**63)  # a time that the container does not tell
HELD_BYTES = 32_000_000  # packets of a stream up to this size stay in memory
PACKET_BYTES = 300  # what a held packet costs beside its content
SEEK_BYTES = 4_000_000  # a gap of fewer bytes is read through

# A keyframe of these forgets everything before it, and a packet is a picture.
# Any other decoder is run from the first packet on.
RESTARTABLE = {
    *("h264", "hevc", "vp8", "vp9", "libvpx-vp9", "av1", "libdav1d", "mpeg4", "mpeg2video"),
    *("mpeg1video", "mjpeg", "h263", "flv", "prores", "ffv1", "rawvideo"),
}


class LostError(Exception):
    """The packets come otherwise than the table says; never told to the user."""


class Table:
    """Times, sizes and marks of the packets of one stream, in the order of decoding."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream = stream
        self.codec = stream.codec_context.codec.name
        self.held: list[Packet] | None = []
        self.bytes = 0
        self._pts, self._dts, self._duration = array("q"), array("q"), array("q")
        self._size, self._key, self._shown = array("q"), array("b"), array("b")

    def enter(self, packet: Packet) -> None:
        """Note one packet; empty ones, which only end a stream, are passed over."""
        size = packet.size
        if not size:
            return
        pts, dts = packet.pts, packet.dts
        self._pts.append(UNKNOWN if pts is None else pts)
        self._dts.append(UNKNOWN if dts is None else dts)
        self._duration.append(packet.duration or 0)
        self._size.append(size)
        self._key.append(packet.is_keyframe and (self.codec != "h264" or _is_idr(packet)))
        self._shown.append(not (packet.is_discard or (self.codec == "vp8" and _is_hidden(packet))))
        self.bytes += size + PACKET_BYTES
        if self.held is not None:
            self.held.append(packet)
            if self.bytes > HELD_BYTES:
                self.held = None

    def close(self) -> None:
        """The notes as arrays (packets,); times in ticks of the stream."""
        self.pts, self.dts, self.duration, self.size = (
            np.frombuffer(column, np.int64) if len(column) else np.zeros(0, np.int64)
            for column in (self._pts, self._dts, self._duration, self._size)
        )
        self.key, self.shown = (np.array(column, dtype=bool) for column in (self._key, self._shown))

    def __len__(self) -> int:
        return len(self._pts)

    @property
    def timed(self) -> bool:
        """Whether every shown packet has a time of its own."""
        pts = self.pts[self.shown]
        return pts.size > 0 and pts.min() != UNKNOWN and np.unique(pts).size == pts.size

    @property
    def restartable(self) -> bool:
        """Whether decoding may begin at any keyframe and the packets tell what comes out."""
        return self.timed and self.codec in RESTARTABLE and bool(self.key[0])

    def start_of(self, index: int) -> int:
        """The packet to begin with for the picture of packet `index` to be exact.

        A picture shown before the keyframe that it follows in the file (open group of pictures)
        needs the group before as well.
        """
        keys = np.flatnonzero(self.key[: index + 1] & (self.pts[: index + 1] <= self.pts[index]))
        if not keys.size:
            raise LostError
        return int(keys[-1])


class Supply:
    """The packets of a table once more, from memory or from the file.

    Parameters
    ----------
    container : InputContainer
        Read to its end.
    table : Table
        Closed.
    again : callable () -> InputContainer
        Opens the file anew.
    """

    def __init__(
        self, container: InputContainer, table: Table, again: Callable[[], InputContainer]
    ) -> None:
        self.container, self.table, self.again = container, table, again
        self.first = container  # stays open: the decoder belongs to it
        self.position = len(table)  # of the packet that the demuxer gives next
        self.stream: Iterator[Packet] = iter(())

    def run(self, first: int, last: int) -> Iterator[tuple[int, Packet]]:
        """Index and packet from `first` to `last`, both included.

        Raises
        ------
        LostError
            Where the file gives other packets than at the first reading.
        """
        table = self.table
        if table.held is not None:
            yield from enumerate(table.held[first : last + 1], first)
            return
        if self.position > first or table.size[self.position : first].sum() > SEEK_BYTES:
            self._seek(first)
        while self.position <= last:
            index, packet = self.position, self._next()
            if (packet.pts, packet.size) != (_known(table.pts[index]), table.size[index]):
                raise LostError
            self.position += 1
            if index >= first:
                yield index, packet

    def close(self) -> None:
        """Close what was opened anew."""
        if self.container is not self.first:
            self.container.close()

    def _next(self) -> Packet:
        for packet in self.stream:
            if packet.size:
                return packet
        raise LostError

    def _seek(self, first: int) -> None:
        """Go to packet `first` or one before it."""
        table = self.table
        if first == 0:  # some containers cannot seek, all can be opened
            self.close()
            self.container, self.position = self.again(), 0
            stream = self.container.streams[table.stream.index]
            self.stream = iter(self.container.demux(stream))
            return
        for target in (table.pts[first], table.dts[first]):
            if target == UNKNOWN:
                continue
            try:
                stream = self.container.streams[table.stream.index]
                self.container.seek(int(target), stream=stream)
            except av.FFmpegError:
                continue
            self.stream = iter(self.container.demux(stream))
            packet = self._next()
            same = (
                (table.size == packet.size)
                & (table.pts == (UNKNOWN if packet.pts is None else packet.pts))
                & (table.dts == (UNKNOWN if packet.dts is None else packet.dts))
            )
            places = np.flatnonzero(same)
            if places.size == 1 and places[0] <= first:
                self.position = int(places[0])
                self.stream = _again(packet, self.stream)
                return
        raise LostError


def _again(first: Packet, rest: Iterator[Packet]) -> Iterator[Packet]:
    yield first
    yield from rest


def _known(ticks: np.int64) -> int | None:
    return None if ticks == UNKNOWN else int(ticks)


def _is_idr(packet: Packet) -> bool:
    """Whether an H.264 packet restarts the decoder.

    Containers also mark recovery points, from which pictures are right only after a while.
    """
    data = memoryview(packet)
    start = bytes(data[:4096])
    if start[:3] == b"\0\0\1" or start[:4] == b"\0\0\0\1":
        at = start.find(b"\0\0\1")
        while 0 <= at < len(start) - 3:
            kind = start[at + 3] & 31
            if 1 <= kind <= 5:
                return kind == 5
            at = start.find(b"\0\0\1", at + 3)
        return False
    at, end = 0, len(data)
    while at + 5 <= end:
        kind = data[at + 4] & 31
        if 1 <= kind <= 5:
            return kind == 5
        at += 4 + int.from_bytes(data[at : at + 4])
    return False


def _is_hidden(packet: Packet) -> bool:
    """Whether a VP8 packet only updates a reference and shows nothing."""
    return not memoryview(packet)[0] & 0x10
