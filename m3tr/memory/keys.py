"""Keys of the memory bank from X_s and content features (docs/model.md, section 4)."""

from collections.abc import Mapping

import numpy as np

from m3tr.memory.bank import Keys, unit

CLIP = 5.0  # standard deviations


class KeyMaker:
    """Unit keys: X_s standardised, each modality centred and scaled to length 1.

    Content comes as one array (N, D_m) a modality, a row of zeros where a video lacks it. All
    statistics are those of the training split (docs/model.md, 2, clause 6).
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def fit(self, x_s: np.ndarray, content: Mapping[str, np.ndarray]) -> "KeyMaker":
        """Fit on the training split's X_s (N, D_s) and content embeddings."""
        scale = x_s.std(0)
        self.arrays = {"x_s.mean": x_s.mean(0), "x_s.scale": np.where(scale > 1e-6, scale, 1.0)}
        for m, pooled in content.items():
            present = pooled.any(1)
            if present.any():
                self.arrays[f"centre.{m}"] = pooled[present].mean(0)
        return self

    @property
    def modalities(self) -> list[str]:
        """Modalities that take part in the content key."""
        # sorted: a file gives its arrays back in its own order, which must not permute the keys
        return sorted(n.removeprefix("centre.") for n in self.arrays if n.startswith("centre."))

    def standardise(self, x_s: np.ndarray) -> np.ndarray:
        """X_s in standard deviations of the training split, clipped."""
        z = (x_s - self.arrays["x_s.mean"]) / self.arrays["x_s.scale"]
        return np.clip(z, -CLIP, CLIP)

    def keys(self, x_s: np.ndarray, content: Mapping[str, np.ndarray]) -> Keys:
        """Keys of N videos; a modality that a video lacks has no part in its cosine."""
        parts = [np.zeros((len(x_s), 1), np.float32)]
        for m in self.modalities:
            centre = self.arrays[f"centre.{m}"]
            if m in content:
                there = content[m].any(1, keepdims=True)
                parts.append(np.where(there, unit(content[m] - centre), 0.0))
            else:
                parts.append(np.zeros((len(x_s), len(centre)), np.float32))
        return Keys(unit(self.standardise(x_s)), unit(np.hstack(parts)))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "KeyMaker":
        """Fitted keys from their `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new
