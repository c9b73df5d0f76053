"""A summary of the features in one pass over their files, a few videos at a time.

What is kept of a video is its id and a digest of its vectors; all else is summed up on the way.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.features.store import MODALITIES

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Keys:
    """How the rows of the features fit the videos table.

    `repeated` counts second and later rows of an id, `missing` the videos without a row, `unknown`
    the rows of no video; `in_order` says whether both lists are the same.
    """

    rows: int
    repeated: int
    missing: int
    unknown: int
    in_order: bool


@dataclass(frozen=True)
class ModalitySummary:
    """Statistics of one modality; those of vectors are over all tokens without NaN and infinity.

    Attributes
    ----------
    videos, coverage : int, float
        Videos that have the modality; their share of all rows.
    tokens : tuple of float
        Fewest, mean and most tokens of a video that has the modality.
    non_finite : int
        Values that are NaN or infinite.
    norms : tuple of float
        Smallest, mean and largest Euclidean length of a token.
    mean, deviation : ndarray (D,) float64
        By dimension; the deviation is that of the population.
    constant : ndarray (D,) bool
        Dimensions that have the same value in every token.
    duplicates : float
        Share of its videos whose vectors equal those of another video.
    digest : str
        Of the ids and vectors.
    """

    videos: int
    coverage: float
    tokens: tuple[float, float, float]
    non_finite: int
    norms: tuple[float, float, float]
    mean: np.ndarray
    deviation: np.ndarray
    constant: np.ndarray
    duplicates: float
    digest: str

    @property
    def constant_share(self) -> float:
        return float(self.constant.mean()) if len(self.constant) else 0.0


@dataclass(frozen=True)
class Summary:
    """Statistics of all features; a modality that no video has is left out."""

    keys: Keys
    modalities: dict[str, ModalitySummary]


def summarize(parts: Sequence[Path], videos: Iterable[str]) -> Summary:
    """Read part files (docs/features.md), one after the other, and sum them up.

    Parameters
    ----------
    parts : sequence of Path
        In the order of their rows: `video_id`, and a column of tokens a modality.
    videos : iterable of str
        Ids of the videos table, in order.

    Raises
    ------
    InputError
        Where a file is no such part, or two parts differ in the dimensions of a modality.
    """
    ids: list[str] = []
    sums: dict[str, _Sums] = {}
    for path in parts:
        for frame in _slices(path):
            names = frame["video_id"].to_list()
            ids += names
            for m in MODALITIES:
                if m in frame.columns and frame[m].null_count() < frame.height:
                    width = frame.schema[m].inner.size  # type: ignore[attr-defined]
                    known = sums.setdefault(m, _Sums(width))
                    if known.width != width:
                        raise InputError(
                            f"{path}: {m} has {width} dimensions, {known.width} in the parts "
                            "before; run the features stage again"
                        )
                    known.add(names, frame[m])
    found = {m: sums[m].summary(len(ids)) for m in MODALITIES if m in sums and sums[m].digests}
    return Summary(_keys(ids, list(videos)), found)


def _slices(path: Path) -> Iterator[pl.DataFrame]:
    try:
        frame = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{path}: no readable part of the features ({type(error).__name__}); run the features "
            "stage again"
        ) from None
    for name, dtype in frame.schema.items():
        inner = dtype.inner if isinstance(dtype, pl.List) else None
        tokens = isinstance(inner, pl.Array) and inner.inner == pl.Float32
        if not (dtype == pl.String if name == "video_id" else name in MODALITIES and tokens):
            raise InputError(f"{path}: the column {name!r} may not be {dtype} in the features")
    if "video_id" not in frame.columns:
        raise InputError(f"{path}: a part of the features without video_id; run the stage again")
    yield from frame.iter_slices(ROWS_AT_ONCE)


def _keys(ids: list[str], videos: list[str]) -> Keys:
    mine, theirs = set(ids), set(videos)
    return Keys(
        len(ids), len(ids) - len(mine), len(theirs - mine), len(mine - theirs), ids == videos
    )


@dataclass
class _Sums:
    """Running moments of one modality (Chan, Golub, LeVeque: merged slice by slice)."""

    width: int
    n: int = 0
    non_finite: int = 0
    counts: tuple[int, int, int] = (2**62, 0, 0)  # fewest, all, most tokens
    norms: tuple[float, float, float] = (np.inf, 0.0, 0.0)  # smallest, sum, largest
    digests: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mean, self.squares = np.zeros(self.width), np.zeros(self.width)
        self.low, self.high = np.full(self.width, np.inf), np.full(self.width, -np.inf)
        self.content = hashlib.sha256()

    def add(self, names: list[str], column: pl.Series) -> None:
        places = column.list.len().fill_null(0).to_numpy().astype(np.int64)
        flat = column.filter(places > 0).explode()
        # a null vector is a token that is missing between others
        there = flat.is_not_null().to_numpy()
        row = np.repeat(np.arange(len(column)), places)[there]
        own = np.bincount(row, minlength=len(column))
        vectors = flat.filter(there).to_numpy().reshape(-1, self.width)
        ends, behind = np.cumsum(own), np.cumsum(places)
        for i in np.flatnonzero(own):
            made = hashlib.blake2b(there[behind[i] - places[i] : behind[i]].tobytes())
            made.update(vectors[ends[i] - own[i] : ends[i]].tobytes())
            digest = made.digest()[:16]
            self.digests.append(digest)
            self.content.update(names[i].encode() + b"\0" + digest)
        own = own[own > 0]
        if not len(own):
            return
        few, total, many = self.counts
        self.counts = (min(few, int(own.min())), total + len(vectors), max(many, int(own.max())))
        finite = np.isfinite(vectors)
        self.non_finite += int((~finite).sum())
        self._moments(vectors[finite.all(1)].astype(np.float64))

    def _moments(self, vectors: np.ndarray) -> None:
        n = len(vectors)
        if not n:
            return
        mean = vectors.mean(0)
        step, whole = mean - self.mean, self.n + n
        self.squares += ((vectors - mean) ** 2).sum(0) + step**2 * self.n * n / whole
        self.mean += step * n / whole
        self.n = whole
        self.low = np.minimum(self.low, vectors.min(0))
        self.high = np.maximum(self.high, vectors.max(0))
        norms = np.linalg.norm(vectors, axis=1)
        small, total, large = self.norms
        self.norms = (
            min(small, float(norms.min())), total + float(norms.sum()), max(large, norms.max())
        )  # fmt: skip

    def summary(self, rows: int) -> ModalitySummary:
        videos, n = len(self.digests), max(self.n, 1)
        few, total, many = self.counts
        small, length, large = self.norms
        twins = sum(k for k in Counter(self.digests).values() if k > 1)
        return ModalitySummary(
            videos=videos,
            coverage=videos / rows,
            tokens=(float(few), total / videos, float(many)),
            non_finite=self.non_finite,
            norms=(small if self.n else 0.0, length / n, float(large)),
            mean=self.mean,
            deviation=np.sqrt(self.squares / n),
            constant=self.low >= self.high,
            duplicates=twins / videos,
            digest=self.content.hexdigest(),
        )
