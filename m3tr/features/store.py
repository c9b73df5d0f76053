"""Content features of many videos as arrays with masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.features.parts import MODALITIES, ROWS, PartWriter, arrays, parts, read_manifest


@dataclass(frozen=True)
class Features:
    """Tokens of each modality (docs/features.md).

    Attributes
    ----------
    ids : list of str
        The videos, in order.
    tokens : dict of str to ndarray (N, T, D) float32
        By modality ("visual", "audio", "text"); T and D differ by modality. A modality that no
        video has is left out. Tokens that are not present are zero.
    mask : dict of str to ndarray (N, T) bool
        True = present.
    """

    ids: list[str]
    tokens: dict[str, np.ndarray] = field(default_factory=dict)
    mask: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.tokens) != set(self.mask):
            raise InputError("features: tokens and masks name different modalities")
        for m, tokens in self.tokens.items():
            if tokens.ndim != 3 or tokens.shape[:2] != self.mask[m].shape:
                raise InputError(
                    f"features: {m} tokens {tokens.shape} and mask {self.mask[m].shape} disagree"
                )
            if len(tokens) != len(self.ids):
                raise InputError(f"features: {len(tokens)} rows of {m} for {len(self.ids)} videos")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(T, D) of each modality."""
        return {m: (tokens.shape[1], tokens.shape[2]) for m, tokens in self.tokens.items()}

    @classmethod
    def empty(
        cls, ids: Sequence[str] = (), shapes: Mapping[str, tuple[int, int]] | None = None
    ) -> "Features":
        """Features of `ids` with nothing present; `shapes` gives (T, D) of each modality."""
        rows, shapes = len(ids), shapes or {}
        return cls(
            list(ids),
            {m: np.zeros((rows, T, D), np.float32) for m, (T, D) in shapes.items()},
            {m: np.zeros((rows, T), bool) for m, (T, _) in shapes.items()},
        )

    def select(self, ids: Sequence[str]) -> "Features":
        """The features of `ids`, in that order.

        Raises
        ------
        InputError
            Where a video has no features.
        """
        place = {video: row for row, video in reversed(list(enumerate(self.ids)))}
        missing = next((video for video in ids if video not in place), None)
        if missing is not None:
            raise InputError(
                f"features: no row for video '{missing}'; run the features stage again"
            )
        rows = np.array([place[video] for video in ids], np.int64)
        return Features(
            list(ids),
            {m: tokens[rows] for m, tokens in self.tokens.items()},
            {m: mask[rows] for m, mask in self.mask.items()},
        )

    def present(self, modality: str) -> np.ndarray:
        """Which videos have the modality, (N,) bool."""
        if modality not in self.mask:
            return np.zeros(len(self.ids), bool)
        return np.asarray(self.mask[modality].any(axis=1))

    def present_counts(self) -> dict[str, int]:
        """How many videos have each modality."""
        return {m: int(self.present(m).sum()) for m in MODALITIES}

    def pooled(self, modality: str) -> np.ndarray:
        """The masked mean of the tokens, (N, D) float32 of unit length; zeros where absent.

        D is 0 for a modality that no video has.
        """
        if modality not in self.tokens:
            return np.zeros((len(self.ids), 0), np.float32)
        mask = self.mask[modality][..., None]
        mean = (self.tokens[modality] * mask).sum(1) / np.maximum(mask.sum(1), 1)
        norm = np.linalg.norm(mean, axis=1, keepdims=True)
        return (mean / np.where(norm > 1e-12, norm, 1)).astype(np.float32)

    def embeddings(self) -> dict[str, np.ndarray]:
        """`pooled` of every modality."""
        return {m: self.pooled(m) for m in self.tokens}

    def aligned(self, shapes: Mapping[str, tuple[int, int]]) -> "Features":
        """The same features with exactly these modalities and (T, D), for a fitted model.

        Modalities not named are dropped, missing ones are added as absent, tokens are padded.

        Raises
        ------
        InputError
            Where D differs or there are more tokens than T.
        """
        result = Features.empty(self.ids, shapes)
        for m, (T, D) in shapes.items():
            if m not in self.tokens:
                continue
            have, width = self.shapes[m]
            if not self.present(m).any():
                continue
            if width != D or have > T:
                raise InputError(
                    f"features: {m} tokens are {have} x {width}, expected at most {T} x {D}; "
                    "extract them with the encoder settings the model was fitted with"
                )
            result.tokens[m][:, :have] = self.tokens[m]
            result.mask[m][:, :have] = self.mask[m]
        return result

    @staticmethod
    def concat(parts: Sequence["Features"]) -> "Features":
        """Rows of all parts, one after the other; tokens are padded to the largest T.

        Raises
        ------
        InputError
            Where parts have the same modality in different dimensions.
        """
        shapes: dict[str, tuple[int, int]] = {}
        for part in parts:
            for m, (T, D) in part.shapes.items():
                old_T, old_D = shapes.get(m, (0, D))
                if old_D != D:
                    raise InputError(
                        f"features: {m} has {old_D} and {D} dimensions; use one encoder"
                    )
                shapes[m] = (max(T, old_T), D)
        padded = [part.aligned(shapes) for part in parts]
        return Features(
            [video for part in padded for video in part.ids],
            {m: np.concatenate([part.tokens[m] for part in padded]) for m in shapes},
            {m: np.concatenate([part.mask[m] for part in padded]) for m in shapes},
        )

    def save(self, folder: Path | str) -> None:
        """Write part files and their manifest (`m3tr.features.parts`)."""
        with PartWriter(Path(folder), self.shapes) as writer:
            for start in range(0, len(self), ROWS):
                rows = slice(start, start + ROWS)
                writer.write(
                    self.ids[rows],
                    {m: tokens[rows] for m, tokens in self.tokens.items()},
                    {m: mask[rows] for m, mask in self.mask.items()},
                )

    @classmethod
    def load(cls, folder: Path | str) -> "Features":
        """Read a folder of part files.

        Raises
        ------
        InputError
            Where the folder holds no (readable, finished) features.
        """
        folder = Path(folder)
        ids: list[str] = []
        try:
            count, shapes = read_manifest(folder)
            files = parts(folder)
            if len(files) != count:
                raise ValueError(f"{len(files)} part files instead of {count}")
            tokens: dict[str, list[np.ndarray]] = {m: [] for m in shapes}
            mask: dict[str, list[np.ndarray]] = {m: [] for m in shapes}
            for file in files:
                part = pl.read_parquet(file, glob=False)
                ids += part["video_id"].to_list()
                for m, (T, _) in shapes.items():
                    found, there = arrays(part[m], T)
                    tokens[m].append(found)
                    mask[m].append(there)
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"{folder}: no readable features ({error}); run the features stage"
            ) from None
        if not files:
            return cls.empty([], shapes)
        return cls(
            ids,
            {m: np.concatenate(tokens[m]) for m in shapes},
            {m: np.concatenate(mask[m]) for m in shapes},
        )
