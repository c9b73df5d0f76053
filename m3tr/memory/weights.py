"""How much trajectory and each modality count in a search, learned from validation.

A coordinate search over few values, each judged by what the neighbours say of the validation
videos. A validation split is small and its best blend partly luck, so the default (half and half,
modalities alike) holds unless the evidence is against it (docs/model.md, section 4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# never 0 or 1: a query that lacks one side is still compared by the other
ETAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# never 0: a query that has but one modality is still compared by it
WEIGHTS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
DEFAULT_ETA = 0.5
FOLDS = 5
LEAST = 1e-9  # weight that counts as none
EVIDENCE = 2.0  # standard errors

Find = Callable[[float, Mapping[str, float]], np.ndarray]


@dataclass(frozen=True)
class Blend:
    """Weights of a search.

    Attributes
    ----------
    eta : float
        Weight of the trajectory cosine; content has `1 - eta`.
    weights : dict of float
        Weight of each modality within content, the largest 1; only their ratios matter.
    """

    eta: float = DEFAULT_ETA
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def default(cls, modalities: Sequence[str]) -> "Blend":
        """Half trajectory, half content, every modality alike."""
        return cls(DEFAULT_ETA, dict.fromkeys(modalities, 1.0))

    @property
    def distance(self) -> tuple[float, float]:
        """How far from the default: modalities first, then eta. The smaller, the simpler."""
        spread = np.abs(np.log2(np.maximum([*self.weights.values()] or [1.0], LEAST))).sum()
        return float(spread), round(abs(self.eta - DEFAULT_ETA), 6)


def learn(
    find: Find,
    labels: np.ndarray,
    truth: np.ndarray,
    modalities: Sequence[str],
    etas: Sequence[float] = ETAS,
    start: Blend | None = None,
) -> tuple[Blend, list[dict[str, Any]]]:
    """The blend whose neighbours' mean increment is nearest to the truth.

    The mean, not the median: it is what X_R and the label summary average, and what squared error
    asks for. The default stays unless the choice pays on queries that had no part in it: the best
    blend of four fifths must beat it on the last fifth, by more than two standard errors over all
    fifths, paired by query. Then, of the blends that cannot be told from the best one (their mean
    excess error is within its standard error), the simplest is taken.

    Parameters
    ----------
    find : callable
        `find(eta, weights)` gives positions in the bank, (Q, k) int64, -1 where there is none.
    labels : ndarray, shape (N, H)
        Increments of the bank's items, log2 units. Read at found positions only.
    truth : ndarray, shape (Q, H)
        Increments of the validation queries; never those of the test split.
    modalities : sequence of str
        Content modalities whose weights are learned; none where they are given.
    etas : sequence of float
        Those to choose from; one where it is given.
    start : Blend, optional
        The default, of which the given ones are kept; without it half and half, all alike.

    Returns
    -------
    blend : Blend
    tried : list of dict
        In order: `eta`, `weights`, `error` (squared, log2 units, mean over queries and horizons),
        `excess` over the best and its standard error `se`, `chosen`.
    """
    default = start or Blend.default(modalities)
    search = _Search(find, np.asarray(labels), np.asarray(truth, float))
    if search.of(default).size < 2:  # no spread, no evidence
        return default, []
    best = search.least([Blend(eta, default.weights) for eta in etas])
    if len(modalities) > 1:
        at = best.eta
        current = dict(default.weights)
        alone = [_only(m, modalities) for m in modalities]
        current = dict(search.least([Blend(at, w) for w in (current, *alone)]).weights)
        for m in modalities:
            options = [Blend(at, _scaled(current | {m: w})) for w in WEIGHTS]
            current = dict(search.least([Blend(at, current), *options]).weights)
        search.least([Blend(eta, current) for eta in etas])
    return search.verdict()


class _Search:
    """Errors by blend, each searched once."""

    def __init__(self, find: Find, labels: np.ndarray, truth: np.ndarray) -> None:
        self.find, self.labels, self.truth = find, labels, truth
        self.errors: dict[tuple[float, ...], np.ndarray] = {}
        self.blends: dict[tuple[float, ...], Blend] = {}

    def of(self, blend: Blend) -> np.ndarray:
        """Squared error of each query that has a neighbour, mean over horizons."""
        key = (blend.eta, *blend.weights.values())
        if key not in self.errors:
            index = self.find(blend.eta, blend.weights)
            found = index >= 0
            some = found.any(1)  # the same queries under every blend: permission has no weights
            position = np.where(found, index, np.where(some, index.max(1, initial=-1), 0)[:, None])
            position, found = position[some], found[some]
            near = self.labels[position] * found[:, :, None]  # (Q', k, H)
            mean = near.sum(1) / found.sum(1)[:, None]
            self.errors[key] = np.square(mean - self.truth[some]).mean(1)
            self.blends[key] = blend
        return self.errors[key]

    def least(self, blends: Sequence[Blend]) -> Blend:
        """Least mean error; ties go to the simpler."""
        return min(blends, key=lambda b: (self.of(b).mean(), b.distance))

    def pays(self) -> bool:
        """Whether the best blend of some queries beats the default on the others."""
        errors = np.stack([*self.errors.values()])  # (blends, Q'), the default first
        fold = np.arange(errors.shape[1]) % FOLDS
        gain = np.empty(errors.shape[1])
        for held in range(min(FOLDS, len(gain))):
            best = errors[:, fold != held].mean(1).argmin()
            gain[fold == held] = (errors[0] - errors[best])[fold == held]
        return bool(gain.mean() > EVIDENCE * gain.std(ddof=1) / np.sqrt(len(gain)))

    def verdict(self) -> tuple[Blend, list[dict[str, Any]]]:
        """The blend that is chosen, and all that was tried."""
        best = self.of(self.least(list(self.blends.values())))
        rows, near = [], []
        for key, blend in self.blends.items():
            excess = self.errors[key] - best
            se = excess.std(ddof=1) / np.sqrt(len(excess))
            if excess.mean() <= se:
                near.append(blend)
            rows.append(
                {
                    "eta": blend.eta,
                    "weights": dict(blend.weights),
                    "error": float(self.errors[key].mean()),
                    "excess": float(excess.mean()),
                    "se": float(se),
                }
            )
        chosen = next(iter(self.blends.values()))  # the default
        if self.pays():
            chosen = min(near, key=lambda b: (b.distance, self.of(b).mean()))
        for row in rows:
            row["chosen"] = row["eta"] == chosen.eta and row["weights"] == dict(chosen.weights)
        return chosen, rows


def _only(modality: str, modalities: Sequence[str]) -> dict[str, float]:
    return {m: 1.0 if m == modality else WEIGHTS[0] for m in modalities}


def _scaled(weights: Mapping[str, float]) -> dict[str, float]:
    """The largest weight is 1, none is below the least of the grid."""
    top = max(weights.values())
    return {m: max(w / top, WEIGHTS[0] / WEIGHTS[-1]) for m, w in weights.items()}
