"""Where a file should end by its own account: the boxes of an MP4, the chunk of a WAV or AVI."""

import struct
from dataclasses import dataclass
from pathlib import Path

# what the first box of an MP4 may be; anything else is another container under that name
FIRST = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"}
STREAMED = 0x7FFFF000  # from this size on, or 0: the writer could not go back to fill it in
MOST_BOXES = 100_000


@dataclass(frozen=True)
class Account:
    """The bytes that a file's headers declare, and whether an MP4 has its index (`moov`)."""

    end: int
    indexed: bool = True


def account(path: Path) -> Account | None:
    """What the outermost headers say; None for other kinds of files.

    Bytes behind an MP4 that begin no box are left to the decoder.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            length = int.from_bytes(head[4:8], "little")
            if not 0 < length < STREAMED:
                return None
            return Account(8 + length - 1)  # some writers count a pad byte that they leave out
        if head[4:8] not in FIRST:
            return None
        end, indexed = 0, False
        for _ in range(MOST_BOXES):
            file.seek(end)
            header = file.read(16)
            if len(header) < 8 or not header[4:8].isalnum():
                break
            length, kind = struct.unpack(">I4s", header[:8])
            if length == 1 and len(header) == 16:  # a 64-bit length follows
                length = struct.unpack(">Q", header[8:])[0]
            elif length == 0:  # the last box, up to the end
                length = size - end
            if length < 8:
                break
            indexed |= kind == b"moov"
            end += length
            if end >= size:
                break
    return Account(end, indexed)
