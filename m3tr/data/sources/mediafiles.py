"""Media files of a folder: what is there, by name and kind, and which MP4s were cut short."""

import os
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from m3tr.data.boxes import account

# in the order of choice: a film says more than its cover, that more than its sound
KINDS = {
    "video": ".mp4 .m4v .mov .webm .mkv .avi .flv .wmv .mpg .mpeg .ts .3gp",
    "picture": ".jpg .jpeg .png .webp .avif .bmp .gif",
    "sound": ".wav .mp3 .m4a .aac .flac .ogg .opus",
}
SMALLEST = 8  # bytes of an empty box
MP4 = r"(?i)\.(mp4|m4v|mov|3gp)$"
_KIND = {suffix: i for i, names in enumerate(KINDS.values()) for suffix in names.split()}


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
    size, told = path.stat().st_size, account(path)
    if told is None:
        return size < SMALLEST
    return not told.indexed or told.end > size
