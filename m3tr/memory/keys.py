"""Keys of the memory bank from X_s and content features (docs/retrieval.md, "Keys")."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from m3tr.memory.supervised import SupervisedKey

CLIP = 5.0  # standard deviations
OWN, AGED = "x_s", "x_s@"  # X_s at the task's age, and at a younger one, days


@dataclass(frozen=True)
class Keys:
    """Unit keys of N videos, a row of zeros where there is nothing to compare.

    Attributes
    ----------
    trajectory : ndarray, shape (N, D_s)
        At the observation age of the task.
    content : dict of str to ndarray, shapes (N, D_m)
        By modality.
    younger : dict of float to ndarray, shapes (N, D_s)
        The trajectory's key as it was at a younger age, days.
    """

    trajectory: np.ndarray
    content: Mapping[str, np.ndarray] = field(default_factory=dict)
    younger: Mapping[float, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.trajectory)

    def select(self, rows: np.ndarray) -> "Keys":
        """The keys of some rows."""
        return Keys(
            self.trajectory[rows],
            {m: key[rows] for m, key in self.content.items()},
            {age: key[rows] for age, key in self.younger.items()},
        )


class KeyMaker:
    """Unit keys: X_s standardised, each modality centred and scaled to length 1.

    Content comes as one array (N, D_m) a modality, a row of zeros where a video lacks it. All
    statistics are those of the training split (docs/model.md, 2, clause 6), for X_s at each age.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._learned: dict[str, SupervisedKey] = {}

    def fit(
        self,
        x_s: np.ndarray,
        content: Mapping[str, np.ndarray],
        younger: Mapping[float, np.ndarray] | None = None,
    ) -> "KeyMaker":
        """Fit on the training split's X_s (N, D_s), content embeddings, and X_s when younger."""
        self.arrays, self._learned = {}, {}
        for name, values in _named(x_s, younger).items():
            scale = values.std(0)
            self.arrays[f"{name}.mean"] = values.mean(0)
            self.arrays[f"{name}.scale"] = np.where(scale > 1e-6, scale, 1.0)
        for m, pooled in content.items():
            present = pooled.any(1)
            if present.any():
                self.arrays[f"centre.{m}"] = pooled[present].mean(0)
        return self

    def learn(
        self,
        x_s: np.ndarray,
        younger: Mapping[float, np.ndarray] | None,
        future: np.ndarray,
        groups: np.ndarray,
        seed: int,
    ) -> dict[str, dict[str, float]]:
        """Learn trajectory keys that are near where the futures (N, H) are, at each age.

        On the training split, after `fit`; the figures of each key (`SupervisedKey`).
        """
        from m3tr.memory.supervised import SupervisedKey

        figures = {}
        for name, values in _named(x_s, younger).items():
            key = SupervisedKey().fit(self._z(name, values), future, groups, seed)
            self._learned[name] = key
            self.arrays |= {f"{name}.key.{n}": array for n, array in key.arrays.items()}
            figures[name] = key.figures
        return figures

    @property
    def modalities(self) -> list[str]:
        """Modalities that take part in the content key."""
        # sorted: a file gives its arrays back in its own order, which must not permute the keys
        return sorted(n.removeprefix("centre.") for n in self.arrays if n.startswith("centre."))

    @property
    def younger(self) -> list[float]:
        """Ages below that of the task at which trajectories are compared, days, ascending."""
        names = [n.removesuffix(".mean") for n in self.arrays if n.endswith(".mean")]
        return sorted(float(n.removeprefix(AGED)) for n in names if n.startswith(AGED))

    def standardise(self, x_s: np.ndarray) -> np.ndarray:
        """X_s at the task's age in standard deviations of the training split, clipped."""
        return self._z(OWN, x_s)

    def trajectory(self, x_s: np.ndarray, age: float | None = None) -> np.ndarray:
        """Trajectory keys (N, D) of X_s as it was at the task's age, or at a younger one."""
        name = OWN if age is None else _at(age)
        z = self._z(name, x_s)
        key = self._learned.get(name)
        return unit(z) if key is None else key.transform(z)

    def _z(self, name: str, x_s: np.ndarray) -> np.ndarray:
        z = (x_s - self.arrays[f"{name}.mean"]) / self.arrays[f"{name}.scale"]
        return np.clip(z, -CLIP, CLIP)

    def keys(
        self,
        x_s: np.ndarray,
        content: Mapping[str, np.ndarray],
        younger: Mapping[float, np.ndarray] | None = None,
    ) -> Keys:
        """Keys of N videos; a modality that a video lacks has no part in its similarity."""
        parts = {}
        for m in self.modalities:
            centre = self.arrays[f"centre.{m}"]
            there = content[m].any(1, keepdims=True) if m in content else False
            pooled = content.get(m, np.zeros((len(x_s), len(centre)), np.float32))
            parts[m] = np.where(there, unit(pooled - centre), np.float32(0))
        then = {age: self.trajectory(values, age) for age, values in (younger or {}).items()}
        return Keys(self.trajectory(x_s), parts, then)

    def fingerprint(self) -> str:
        """A hex digest of all that decides the keys."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "KeyMaker":
        """Fitted keys from their `arrays`."""
        from m3tr.memory.supervised import SupervisedKey

        new = cls()
        new.arrays = dict(arrays)
        for name in {n.partition(".key.")[0] for n in arrays if ".key." in n}:
            own = {
                n.partition(".key.")[2]: array
                for n, array in arrays.items()
                if n.startswith(f"{name}.key.")
            }
            new._learned[name] = SupervisedKey.from_arrays(own)
        return new


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of `x` (N, D) scaled to length 1, float32; zero rows stay zero."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(length > 1e-12, length, 1.0)).astype(np.float32)


def _named(x_s: np.ndarray, younger: Mapping[float, np.ndarray] | None) -> dict[str, np.ndarray]:
    return {OWN: x_s} | {_at(age): values for age, values in (younger or {}).items()}


def _at(age: float) -> str:
    return f"{AGED}{age:.9g}"
