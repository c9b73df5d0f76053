"""Folders in the published layout of the MicroLens dataset, made for the tests."""

from datetime import UTC, datetime
from pathlib import Path

import mediafiles
import numpy as np
import polars as pl
from PIL import Image

START = datetime(2022, 8, 1, tzinfo=UTC)
T0 = int(START.timestamp() * 1000)
HOUR = 3_600_000


class Folder:
    """A folder that can be filled file by file."""

    def __init__(self, path: Path, prefix: str = "MicroLens-100k") -> None:
        self.path = path
        self.prefix = prefix
        path.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.path / (name if name.startswith("tags") else f"{self.prefix}_{name}")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def pairs(self, *rows: tuple[object, ...], header: str = "user,item,timestamp") -> None:
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        self.write("pairs.csv", "\n".join(lines) + "\n")

    def features(self, name: str, array: np.ndarray) -> None:
        folder = self.path / "extracted_modality_features"
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{self.prefix}_{name}.npy", array, allow_pickle=True)

    def media(self, kind: str, item: int, suffix: str) -> Path:
        path = self.path / f"{self.prefix}_{kind}" / f"{item}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == "jpg":
            Image.new("RGB", (32, 24), (item % 200, 80, 120)).save(path)
        elif suffix == "wav":
            sound = mediafiles.tone(220, 0.3)
            mediafiles.write(path, None, sound, sound_codec="pcm_s16le")
        else:
            mediafiles.write(path, mediafiles.plain((item % 200, 60, 90), 3), None)
        return path


def reasons(loaded, table):
    """Rows set aside of one table: (row, video_id, reason)."""
    rows = loaded.rejected.filter(pl.col("table") == table)
    return rows.select("row", "video_id", "reason").rows()
