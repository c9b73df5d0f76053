"""Media files of a folder: what is there, by name and kind, and which MP4s were cut short."""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import polars as pl

# in the order of choice: a film says more than its cover, that more than its sound
KINDS = {
    "video": ".mp4 .m4v .mov .webm .mkv .avi .flv .wmv .mpg .mpeg .ts .3gp",
    "picture": ".jpg .jpeg .png .webp .bmp .gif",
    "sound": ".wav .mp3 .m4a .aac .flac .ogg .opus",
}
MP4 = r"(?i)\.(mp4|m4v|mov|3gp)$"
_KIND = {suffix: i for i, names in enumerate(KINDS.values()) for suffix in names.split()}
# what the first box of an MP4 may be; anything else is another container under that name
_FIRST = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"}


def index(root: Path, folders: Iterable[Path]) -> pl.DataFrame:
    """Media files below `folders`, known by their suffix; hidden folders are passed over.

    Returns
    -------
    DataFrame
        `stem` (name without suffix), `kind` (0 video, 1 picture, 2 sound), `media` (path relative
        to `root`, with forward slashes); sorted by stem, kind, path.
    """
    stems, kinds, paths = [], [], []
    for folder in folders:
        for where, inner, names in os.walk(folder):
            inner[:] = sorted(d for d in inner if not d.startswith("."))
            below = Path(where).relative_to(root)
            for name in names:
                stem, suffix = os.path.splitext(name)
                kind = _KIND.get(suffix.lower())
                if kind is not None and not name.startswith("."):
                    stems.append(stem)
                    kinds.append(kind)
                    paths.append((below / name).as_posix())
    schema = {"stem": pl.String, "kind": pl.Int8, "media": pl.String}
    columns = {"stem": stems, "kind": kinds, "media": paths}
    return pl.DataFrame(columns, schema=schema).unique("media").sort("stem", "kind", "media")


def is_partial_mp4(path: Path) -> bool:
    """Whether an MP4 was cut short: no `moov` box, or fewer bytes than its boxes say.

    Only the headers of the top-level boxes are read. A file that does not begin like an MP4, or
    that has other bytes behind its `moov`, is left to the decoder.
    """
    size = path.stat().st_size
    offset, moov = 0, False
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(16)
            if len(header) < 8:
                break
            length, kind = struct.unpack(">I4s", header[:8])
            if offset == 0 and kind not in _FIRST:
                return False
            if length == 1 and len(header) == 16:  # a 64-bit length follows
                length = struct.unpack(">Q", header[8:])[0]
            elif length == 0:  # the last box, up to the end
                length = size - offset
            if length < 8:
                break
            moov |= kind == b"moov"
            offset += length
    return not moov or offset > size
