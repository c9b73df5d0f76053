"""MP4 boxes: finding, overwriting and replacing them."""

from dataclasses import dataclass

PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"}


@dataclass(frozen=True)
class Box:
    """`path` counts equal kinds within a parent: moov/trak1/mdia/mdhd (the first has no number)."""

    path: str
    start: int
    size: int

    @property
    def body(self) -> int:
        return self.start + 8


def number(value: int, width: int = 4) -> bytes:
    """Big-endian; negative and too large values wrap."""
    return (value % (1 << 8 * width)).to_bytes(width, "big")


def box(kind: bytes, body: bytes) -> bytes:
    return number(len(body) + 8) + kind + body


def boxes(data: bytes, start: int = 0, end: int | None = None, parent: str = "") -> list[Box]:
    """All boxes in the order of the file, parents before children."""
    found: list[Box] = []
    counts: dict[bytes, int] = {}
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        seen = counts[kind] = counts.get(kind, -1) + 1
        path = f"{parent}{kind.decode('latin-1')}{seen or ''}"
        found.append(Box(path, start, size))
        if kind in PARENTS:
            found += boxes(data, start + 8, start + size, path + "/")
        start += size
    return found


def find(data: bytes, path: str) -> Box:
    return next(b for b in boxes(data) if b.path == path)


def edit(data: bytes, path: str, at: int, new: bytes) -> bytes:
    """Overwrite bytes of a box's body; `at` below 0 reaches into its header."""
    place = find(data, path).body + at
    return data[:place] + new + data[place + len(new) :]


def swap(data: bytes, path: str, new: bytes) -> bytes:
    """Put `new` (whole boxes) in the place of a box and correct the sizes of its parents."""
    old = find(data, path)
    result = bytearray(data[: old.start] + new + data[old.start + old.size :])
    parts = path.split("/")
    for depth in range(1, len(parts)):
        parent = find(data, "/".join(parts[:depth]))
        size = number(parent.size + len(new) - old.size)
        result[parent.start : parent.start + 4] = size
    return bytes(result)


def bits(*values: int | tuple[int, int]) -> bytes:
    """Bits of an H.264 header: an int is Exp-Golomb coded, a pair is (value, width)."""
    text = ""
    for value in values:
        if isinstance(value, tuple):
            text += format(value[0], f"0{value[1]}b")
        else:
            code = format(value + 1, "b")
            text += "0" * (len(code) - 1) + code
    text += "1"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def h264_header(width: int, height: int) -> bytes:
    """A sequence parameter set that declares this size (multiples of 16)."""
    fields = bits((66, 8), (0, 8), (62, 8), 0, 0, 2, 1, (0, 1), width // 16 - 1, height // 16 - 1,
                  (1, 1), (1, 1), (0, 1), (0, 1))  # fmt: skip
    return b"\x67" + fields


def with_h264_header(data: bytes, header: bytes) -> bytes:
    """The MP4 with another sequence parameter set in its first track."""
    path = "moov/trak/mdia/minf/stbl/stsd"
    stsd = find(data, path)
    body = data[stsd.body : stsd.start + stsd.size]
    at = body.index(b"avcC") + 4
    length = int.from_bytes(body[at + 6 : at + 8], "big")
    more = len(header) - length
    body = body[: at + 6] + number(len(header), 2) + header + body[at + 8 + length :]
    grown = bytearray(body)
    for place in (8, at - 8):  # the sizes of avc1 and avcC
        grown[place : place + 4] = number(int.from_bytes(body[place : place + 4], "big") + more)
    return swap(data, path, box(b"stsd", bytes(grown)))
