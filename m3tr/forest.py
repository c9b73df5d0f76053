"""Extremely randomised trees, kept as plain arrays."""

from collections.abc import Mapping

import numpy as np

LEAST_LEAF, MOST_LEAVES = 3, 2000  # videos in a leaf; of many videos more, or a model would grow
COLUMNS = 0.3  # share of the inputs that a split may choose from
CHUNK = 4096  # rows that walk down the trees together


class Forest:
    """Extremely randomised trees (Geurts et al. 2006), all horizons in each (docs/model.md, 5).

    Their splits are drawn, not sought, and nothing is stopped early: they err elsewhere than
    boosted trees do.

    Attributes
    ----------
    arrays : dict
        `roots` (trees,) and, by node, `left`, `right` (itself in a leaf), `column`, `threshold` and
        `value` (nodes, H).
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def fit(self, X: np.ndarray, y: np.ndarray, trees: int, seed: int, n_jobs: int = 2) -> "Forest":
        """Fit on inputs X (N, D) and targets y (N, H); `n_jobs` threads change nothing."""
        from sklearn.ensemble import ExtraTreesRegressor

        least = max(LEAST_LEAF, len(X) // MOST_LEAVES)
        model = ExtraTreesRegressor(
            trees, min_samples_leaf=least, max_features=COLUMNS, random_state=seed, n_jobs=n_jobs
        ).fit(X, y[:, 0] if y.shape[1] == 1 else y)
        grown = [each.tree_ for each in model.estimators_]
        sizes = np.array([tree.node_count for tree in grown])
        roots = np.cumsum(sizes) - sizes
        here = np.arange(sizes.sum())

        def along(name: str) -> np.ndarray:
            """A branch of all nodes, counted through the trees."""
            ways = [getattr(tree, name) for tree in grown]
            shifted = np.concatenate([way + at for way, at in zip(ways, roots, strict=True)])
            return np.where(np.concatenate(ways) < 0, here, shifted).astype(np.int32)

        self.arrays = {
            "roots": roots.astype(np.int32),
            "left": along("children_left"),
            "right": along("children_right"),
            "column": np.maximum(np.concatenate([t.feature for t in grown]), 0).astype(np.int32),
            "threshold": np.concatenate([tree.threshold for tree in grown]),
            "value": np.concatenate([tree.value[:, :, 0] for tree in grown]).astype(np.float32),
        }
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Means over the trees, (N, H)."""
        rows = np.asarray(X, np.float32)  # thresholds lie between numbers of this width
        parts = [self._walk(rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.arrays["value"].shape[1]))

    def _walk(self, X: np.ndarray) -> np.ndarray:
        left, right, column, threshold = (
            self.arrays[name] for name in ("left", "right", "column", "threshold")
        )
        row = np.arange(len(X))[:, None]
        node = np.repeat(self.arrays["roots"][None], len(X), 0)
        while True:
            small = X[row, column[node]] <= threshold[node]
            following = np.where(small, left[node], right[node])
            if np.array_equal(following, node):
                return self.arrays["value"][node].mean(1, dtype=np.float64)
            node = following

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Forest":
        """A fitted forest from its `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new
