"""Covariates of the latent trajectory classes: how likely each is, and what it says of growth."""

from collections.abc import Mapping, Sequence

import numpy as np

from m3tr.data.ridge import BaseForecast, out_of_fold
from m3tr.hawkes.histories import Histories
from m3tr.hawkes.latent import LatentClasses, Prior
from m3tr.model.arrays import arrays_of, joined
from m3tr.model.queries import Queries

RARE = 0.01  # least probability that content gives a class
IMPOSSIBLE = -15.0  # least log probability of a class that is told
CHUNK = 2048  # videos at a time


class ClassCovariates:
    """What content says of class and volume, and what feedback makes of it (docs/model.md, 3).

    The prior is a ridge regression on content of the class probabilities and log volumes that whole
    training histories show. Without a fitted process there are no covariates.

    Attributes
    ----------
    process : LatentClasses
    prior : BaseForecast
        Of log volumes within the class, then of the class probabilities.
    shape : float
        Of the volume's gamma prior around what content says.
    """

    def __init__(self, process: LatentClasses | None = None) -> None:
        self.process = process or LatentClasses()
        self.prior = BaseForecast()
        self.shape = 1.0

    def fit(
        self, histories: Histories, content: np.ndarray, groups: np.ndarray, seed: int
    ) -> np.ndarray:
        """Fit the prior on content covariates (N, D) and whole histories of training videos.

        Returns
        -------
        ndarray, shape (N, 1 + C)
            What the prior says of each video by a fit that saw neither it nor its group: the
            training rows' own `said`.
        """
        reading = self.process.read(histories)
        share = np.exp(reading.log_class)
        usual = self.process.arrays["log_volume"]
        level = (share * (np.log(reading.volume) - usual)).sum(1)
        targets = np.column_stack([level, share])
        self.prior.fit(content, targets)
        said = out_of_fold(content, targets, groups, seed)
        self.shape = 1 / max(float(np.var(level - said[:, 0])), 1e-3)
        return said

    def of(
        self,
        queries: Queries,
        kinds: Sequence[str],
        content: np.ndarray,
        said: np.ndarray | None = None,
    ) -> np.ndarray:
        """Covariates of N queries.

        Parameters
        ----------
        queries : Queries
        kinds : sequence of str
            Of the process.
        content : ndarray, shape (N, D)
            Content covariates.
        said : ndarray, shape (N, 1 + C), optional
            In place of what the prior says of `content`: out of fold, in training.

        Returns
        -------
        ndarray, shape (N, 2 C + H); (N, 0) without a process
            Log probability of each class, `log2(1 + expected increment)` by class at the last
            horizon, and their means at every horizon.
        """
        if not len(self.process):
            return np.zeros((len(content), 0))
        seen = Histories.of(queries.observed, queries.examples, kinds)
        horizons = np.array(queries.examples["horizon_days"].to_list(), float)
        said = self.prior.predict(content) if said is None else said
        parts = [
            self._of(seen.select(rows), horizons[rows], said[rows])
            for rows in np.split(np.arange(len(seen)), range(CHUNK, len(seen), CHUNK))
        ]
        return np.vstack(parts)

    def _of(self, seen: Histories, horizons: np.ndarray, said: np.ndarray) -> np.ndarray:
        """Covariates of some of the videos: what is computed for each of 96 steps is large."""
        probability = np.maximum(said[:, 1:], RARE)
        prior = Prior(
            np.log(probability / probability.sum(1, keepdims=True)),
            self.process.arrays["log_volume"] + said[:, :1],
            self.shape,
        )
        reading = self.process.read(seen, prior)
        grown = np.log2(1 + self.process.expected(seen, reading.volume, horizons))
        mean = np.einsum("nc,nch->nh", np.exp(reading.log_class), grown)
        told = np.maximum(reading.log_class, IMPOSSIBLE)
        return np.hstack([told, grown[:, :, -1], mean])

    def width(self, horizons: int) -> int:
        """How many covariates there are for so many horizons."""
        classes = len(self.process)
        return 2 * classes + horizons if classes else 0

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All that was fitted; empty without a process."""
        if not len(self.process):
            return {}
        parts = {"process.": self.process.arrays, "prior.": self.prior.arrays}
        return joined(parts) | {"shape": np.array([self.shape])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ClassCovariates":
        """What `arrays` held; one that was never fitted where they are empty."""
        new = cls(LatentClasses.from_arrays(arrays_of(arrays, "process.")))
        if arrays:
            new.prior = BaseForecast.from_arrays(arrays_of(arrays, "prior."))
            new.shape = float(arrays["shape"][0])
        return new
