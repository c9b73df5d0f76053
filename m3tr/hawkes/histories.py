"""Events of many videos as flat arrays, with the hour of day at which each was published."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Histories:
    """Events of N videos, flat: those of video `i` are `offsets[i]:offsets[i + 1]`.

    Attributes
    ----------
    offsets : ndarray, shape (N + 1,)
    time, kind, count : ndarray
        Age (days), number of the kind, count; in order of time. All in `(0, end]`.
    end : ndarray, shape (N,)
        Age, days, up to which each video was seen.
    hour : ndarray, shape (N,)
        Hour of day, 0 to 24, of publication.
    """

    offsets: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    count: np.ndarray
    end: np.ndarray
    hour: np.ndarray

    @classmethod
    def of(cls, rows: pl.DataFrame, examples: pl.DataFrame, kinds: Sequence[str]) -> "Histories":
        """From feedback `video_id`, `kind`, `count`, `age_days`, and examples with `age_days`.

        Rows of other videos and kinds, and those after an example's `age_days`, are left out.
        """
        place = examples.select("video_id", end="age_days").with_row_index("i")
        known = pl.DataFrame({"kind": list(kinds), "k": np.arange(len(kinds))})
        inside = (pl.col("age_days") > 0) & (pl.col("age_days") <= pl.col("end"))
        flat = (
            rows.join(place, on="video_id")
            .join(known, on="kind")
            .filter(inside)
            .sort("i", "age_days", "k", "count")  # whatever the order of rows
        )
        published = examples["published_at"].dt
        hour = published.hour() + published.minute() / 60 + published.second() / 3600
        return cls(
            np.searchsorted(flat["i"].to_numpy(), np.arange(examples.height + 1)),
            flat["age_days"].to_numpy(),
            flat["k"].to_numpy(),
            flat["count"].to_numpy().astype(float),
            examples["age_days"].to_numpy(),
            hour.to_numpy().astype(float),
        )

    def __len__(self) -> int:
        return len(self.end)

    @property
    def video(self) -> np.ndarray:
        """Which video each event is of."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def select(self, rows: np.ndarray) -> "Histories":
        """The histories of some videos, ascending."""
        kept = np.isin(self.video, rows)
        offsets = np.concatenate([[0], np.cumsum(np.diff(self.offsets)[rows])])
        time, kind, count = (part[kept] for part in (self.time, self.kind, self.count))
        return Histories(offsets, time, kind, count, self.end[rows], self.hour[rows])

    def counts(self, edges: np.ndarray) -> np.ndarray:
        """Counts (N, B, K) between ages (N, B + 1)."""
        kinds = int(self.kind.max(initial=0)) + 1
        found = np.zeros((len(self), edges.shape[1] - 1, kinds))
        place = (self.time[:, None] > edges[self.video, 1:-1] + 1e-9).sum(1)
        np.add.at(found, (self.video, place, self.kind), self.count)
        return found
