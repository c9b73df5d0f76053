"""The blend: how far each head's correction of the base forecast is followed."""

from collections.abc import Mapping, Sequence

import numpy as np

# validation videos that the equal blend is worth: few of them may not overrule it
PRIOR_VIDEOS = 1000


class Blend:
    """Non-negative weights of the heads' corrections, drawn towards equal ones.

    One weight a head for all horizons, by least squares on the validation split: minimises

        sum (residual - sum_p w_p part_p)^2 + s sum_p (w_p - 1/P)^2

    where `s` is the mean squared correction of `PRIOR_VIDEOS` videos (docs/model.md, section 5).
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def fit(self, parts: Sequence[np.ndarray], residual: np.ndarray) -> "Blend":
        """Fit on corrections (N, H) by P heads and the base forecast's residuals (N, H)."""
        from scipy.optimize import nnls

        Z = np.column_stack([part.ravel() for part in parts])
        equal = np.full(Z.shape[1], 1 / Z.shape[1])
        strength = np.sqrt((Z**2).sum() / Z.shape[1] * PRIOR_VIDEOS / max(len(residual), 1))
        prior = strength * np.eye(Z.shape[1])
        weights, _ = nnls(np.vstack([Z, prior]), np.concatenate([residual.ravel(), prior @ equal]))
        self.arrays = {"weights": weights}
        return self

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The blended correction (N, H)."""
        return np.einsum("p,pnh->nh", self.arrays["weights"], np.stack(parts))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Blend":
        """A fitted blend from its `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new
