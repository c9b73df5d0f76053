"""Content features on disk: one row a video, in parts that polars reads lazily.

`part-00000.parquet`, ...: `video_id` and, for each modality that some video has, a column
`List(Array(Float32, D))` with one vector a token; null where the video lacks the modality, a null
vector where only that token is missing. `manifest.json` is written last: without it the folder is
unfinished (docs/features.md, "The files").
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl

MANIFEST = "manifest.json"
VERSION = 1
ROWS = 1_024  # videos a part: what a writer or reader holds in memory
MODALITIES = ("visual", "audio", "text")

Shapes = Mapping[str, tuple[int, int]]  # modality -> (T, D)


def parts(folder: Path | str) -> list[Path]:
    """The part files of a folder, in the order of their videos."""
    return sorted(Path(folder).glob("part-*.parquet"))


class PartWriter:
    """Write features part by part; a folder that was there before is replaced.

    Parameters
    ----------
    folder : Path
    shapes : mapping
        (T, D) of every modality that some video has.
    encoders : mapping, optional
        Fingerprint of what made each modality.
    """

    def __init__(
        self, folder: Path, shapes: Shapes, encoders: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.shapes, self.encoders = folder, dict(shapes), dict(encoders or {})
        self.videos = self.count = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        for old in parts(folder):
            old.unlink()

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()

    def write(
        self, ids: list[str], tokens: Mapping[str, np.ndarray], mask: Mapping[str, np.ndarray]
    ) -> None:
        """Append videos: tokens (N, T, D) float32 and mask (N, T) bool of each modality."""
        columns = [pl.Series("video_id", ids, pl.String)]
        columns += [column(tokens[m], mask[m]).rename(m) for m in MODALITIES if m in self.shapes]
        path = self.folder / f"part-{self.count:05d}.parquet"
        pl.DataFrame(columns).write_parquet(path)
        self.videos, self.count = self.videos + len(ids), self.count + 1

    def _finish(self) -> None:
        told = {m: {"tokens": T, "dimension": D} for m, (T, D) in self.shapes.items()}
        manifest = {
            "version": VERSION,
            "videos": self.videos,
            "parts": self.count,
            "modalities": {m: told[m] for m in MODALITIES if m in told},
            "encoders": self.encoders,
        }
        temporary = self.folder / f".{MANIFEST}.{os.getpid()}"
        temporary.write_text(json.dumps(manifest, indent=2) + "\n")
        os.replace(temporary, self.folder / MANIFEST)


def read_manifest(folder: Path) -> tuple[int, dict[str, tuple[int, int]]]:
    """Number of parts, and (T, D) by modality.

    Raises
    ------
    OSError, ValueError
        There is none, or it is not one of this version.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise ValueError(f"{MANIFEST} is not of version {VERSION}")
    shapes = {m: (s["tokens"], s["dimension"]) for m, s in manifest["modalities"].items()}
    return manifest["parts"], shapes


def read_encoders(folder: Path) -> dict[str, str]:
    """Fingerprint of what made each modality, as far as the folder knows; errors as above."""
    return json.loads((folder / MANIFEST).read_text()).get("encoders", {})


def column(tokens: np.ndarray, mask: np.ndarray) -> pl.Series:
    """Tokens (N, T, D) and mask (N, T) as a column `List(Array(Float32, D))`."""
    import pyarrow as pa

    def bits(there: np.ndarray) -> pa.Buffer:
        return pa.py_buffer(np.packbits(there, bitorder="little"))

    N, T, D = tokens.shape
    # a list ends with its last token; a missing one before that is a null vector
    lengths = np.where(mask.any(1), T - np.argmax(mask[:, ::-1], axis=1), 0)
    inside = np.arange(T) < lengths[:, None]
    flat = np.ascontiguousarray(tokens[inside], np.float32).reshape(-1)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    # from buffers: pa.array would import pandas, which costs most of a second
    numbers = pa.Array.from_buffers(pa.float32(), flat.size, [None, pa.py_buffer(flat)])
    vectors = pa.Array.from_buffers(
        pa.list_(pa.float32(), D), flat.size // D, [bits(mask[inside])], children=[numbers]
    )
    lists = pa.Array.from_buffers(
        pa.large_list(vectors.type), N, [bits(lengths > 0), pa.py_buffer(ends)], children=[vectors]
    )
    series = pl.from_arrow(lists)
    assert isinstance(series, pl.Series)
    return series


def arrays(series: pl.Series, T: int) -> tuple[np.ndarray, np.ndarray]:
    """A column as tokens (N, T, D) float32, zero where absent, and mask (N, T)."""
    D = series.dtype.inner.size  # type: ignore[attr-defined]
    arrow = series.rechunk().to_arrow()
    ends, there = arrow.offsets.to_numpy(), arrow.is_valid().to_numpy(zero_copy_only=False)
    lengths = np.where(there, np.diff(ends), 0)
    rows = np.repeat(np.arange(len(series)), lengths)
    token = np.arange(rows.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    source = np.repeat(ends[:-1], lengths) + token
    present = arrow.values.is_valid().to_numpy(zero_copy_only=False)[source]
    flat = arrow.values.values.to_numpy(zero_copy_only=False).reshape(-1, D)[source]
    tokens, mask = np.zeros((len(series), T, D), np.float32), np.zeros((len(series), T), bool)
    mask[rows, token] = present
    tokens[rows, token] = np.where(present[:, None], flat, 0)
    return tokens, mask
