"""Tokens of a video: what it shows, sounds like and says, what it is, and how people reacted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from m3tr.model.inputs import Tokens

if TYPE_CHECKING:
    from m3tr.features.store import Features

CLIP = 5.0  # standard deviations
COMPONENTS = 16  # of a modality: more of a hashed text would only be learned by heart


class Tokeniser:
    """Standardised tokens by modality, scaled by the training split.

    Modalities of the features, each token as its first principal components, then `metadata`
    (content covariates) and `temporal` (X_s and the feedback covariates), one token each.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def fit(self, features: "Features", metadata: np.ndarray, temporal: np.ndarray) -> "Tokeniser":
        """Fit scales on the training split's features and covariates (N, D)."""
        for m, tokens in features.tokens.items():
            if features.mask[m].any():
                present = tokens[features.mask[m]].astype(float)
                centre = present.mean(0)
                _, axes = np.linalg.eigh(np.cov((present - centre).T, ddof=0))
                self.arrays[f"{m}.axes"] = axes[:, ::-1][:, :COMPONENTS].copy()
                self._fit(m, present @ self.arrays[f"{m}.axes"])
        self._fit("metadata", metadata)
        self._fit("temporal", temporal)
        return self

    def tokens(self, features: "Features", metadata: np.ndarray, temporal: np.ndarray) -> Tokens:
        """Tokens of N videos; a fitted modality that the features lack is all masked."""
        n = len(metadata)
        x, mask = {}, {}
        for m in self._modalities:
            if m in features.tokens:
                mask[m] = features.mask[m]
                projected = features.tokens[m] @ self.arrays[f"{m}.axes"]
                x[m] = np.where(mask[m][:, :, None], self._scale(m, projected), 0)
            else:
                mask[m] = np.zeros((n, 1), bool)
                x[m] = np.zeros((n, 1, len(self.arrays[f"{m}.mean"])))
        for m, values in (("metadata", metadata), ("temporal", temporal)):
            x[m], mask[m] = self._scale(m, values)[:, None], np.ones((n, 1), bool)
        return Tokens({m: a.astype(np.float32) for m, a in x.items()}, mask)

    def fit_summary(self, summary: np.ndarray) -> None:
        """Fit the scale of the label summary (N, S) on the training split."""
        self._fit("summary", summary)

    def scale_summary(self, summary: np.ndarray) -> np.ndarray:
        """The label summary (N, S) in standard deviations of the training split, float32."""
        if "summary.mean" not in self.arrays:
            return summary
        return self._scale("summary", summary).astype(np.float32)

    @property
    def _modalities(self) -> list[str]:
        names = [n.removesuffix(".mean") for n in self.arrays if n.endswith(".mean")]
        return [n for n in names if n not in ("metadata", "temporal", "summary")]

    def _fit(self, name: str, rows: np.ndarray) -> None:
        scale = rows.std(0)
        self.arrays[f"{name}.mean"] = rows.mean(0)
        self.arrays[f"{name}.scale"] = np.where(scale > 1e-6, scale, 1.0)

    def _scale(self, name: str, values: np.ndarray) -> np.ndarray:
        z = (values - self.arrays[f"{name}.mean"]) / self.arrays[f"{name}.scale"]
        return np.clip(z, -CLIP, CLIP)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Tokeniser":
        """A fitted tokeniser from its `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new
