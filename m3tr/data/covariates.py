"""Numbers that summarise a video: what it is (content) and how people reacted so far (feedback).

Both classes are fitted on the training split alone and only ever transform the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

# Up to so many distinct lags before the clock, rows are snapshots taken at shared times.
MAX_SNAPSHOT_LAGS = 40
# Edges of the bins of an event log, as fractions of the observation window.
WINDOW_FRACTIONS = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8, 15 / 16, 1.0)
MAX_CATEGORIES = 16
TEXTS = ("title", "description")
NOT_COVARIATES = {"video_id", "published_at", "title", "description", "creator_id", "media"}


class FeedbackCovariates:
    """Feedback up to the clock as log increments on a grid of bins (docs/evaluation.md).

    A counter series on a shared clock has few distinct lags before it: each lag is a bin. An event
    log is binned at fixed fractions of its observation window.

    Parameters
    ----------
    kinds : sequence of str
        Feedback kinds, in the order of the columns.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = list(kinds)
        self.lags: list[float] | None = None

    def fit(self, observed: pl.DataFrame, examples: pl.DataFrame) -> "FeedbackCovariates":
        """Choose the bins from the training split's `observed` feedback and `examples`."""
        ids = examples.select("video_id", end="age_days")
        lags = _with_lag(observed, ids)["lag"].round(6).unique().sort()
        self.lags = lags.to_list() if 0 < len(lags) <= MAX_SNAPSHOT_LAGS else None
        return self

    @property
    def names(self) -> list[str]:
        """Names of the columns of `transform`."""
        bins = [f"{k} {b}" for k in self.kinds for b in self._bin_names()]
        totals = [f"{k} total" for k in self.kinds]
        ratios = [f"{k} per {self.kinds[0]}" for k in self.kinds[1:]]
        shape = ["first row", "age at first row", "since last row", "mean lag", "rows", "age"]
        return bins + totals + ratios + shape + _clock_names("clock")

    def transform(self, observed: pl.DataFrame, examples: pl.DataFrame) -> np.ndarray:
        """Covariates of each example.

        Parameters
        ----------
        observed : DataFrame
            Feedback up to each example's clock (`windows.observed`).
        examples : DataFrame
            N examples.

        Returns
        -------
        ndarray, shape (N, len(names)), float64; counts enter as log2(1 + count), times in days.
        """
        n, k = examples.height, len(self.kinds)
        ids = examples.select("video_id", end="age_days").with_row_index("i")
        rows = _with_lag(observed, ids).filter(pl.col("kind").is_in(self.kinds))
        code = {kind: j for j, kind in enumerate(self.kinds)}
        i = rows["i"].to_numpy()
        j = rows["kind"].replace_strict(code, return_dtype=pl.Int64).to_numpy()
        count = rows["count"].to_numpy().astype(float)
        lag = rows["lag"].to_numpy()
        age = rows["age_days"].to_numpy()
        bins = self._bin(lag, rows["end"].to_numpy())
        n_bins = len(self._bin_names())
        grid = np.zeros((n, k, n_bins))
        np.add.at(grid, (i, j, bins), count)
        total = grid.sum(2)
        seen, end = np.bincount(i, minlength=n), examples["age_days"].to_numpy()
        first_age, last_lag, first_count = end.copy(), end.copy(), np.zeros(n)
        np.minimum.at(first_age, i, age)
        np.minimum.at(last_lag, i, lag)
        at_first = (age <= first_age[i]) & (j == 0)
        np.add.at(first_count, i[at_first], count[at_first])
        mean_lag = np.bincount(i, lag * count, n) / np.maximum(np.bincount(i, count, n), 1)
        log_total = np.log2(1 + total)
        shape = [np.log2(1 + first_count), np.log2(first_age + 1e-3), np.log2(last_lag + 1e-3)]
        shape += [np.log2(mean_lag + 1e-3), np.log2(1 + seen), np.log2(end + 1e-3)]
        return np.column_stack(
            [
                np.log2(1 + grid).reshape(n, -1),
                log_total,
                log_total[:, 1:] - log_total[:, :1],
                *shape,
                _clock(examples["observed_at"]),
            ]
        )

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, as plain JSON values."""
        return {"kinds": self.kinds, "lags": self.lags}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "FeedbackCovariates":
        """The inverse of `state`."""
        new = cls(state["kinds"])
        new.lags = state["lags"]
        return new

    def _bin_names(self) -> list[str]:
        if self.lags is not None:
            return [f"at lag {lag:g} d" for lag in self.lags] + ["earlier"]
        return [f"in window to {f:g}" for f in WINDOW_FRACTIONS[1:]]

    def _bin(self, lag: np.ndarray, end: np.ndarray) -> np.ndarray:
        if self.lags is not None:
            # a row between two known lags belongs to the older one
            return np.searchsorted(np.asarray(self.lags), np.round(lag, 6), side="left")
        fraction = 1 - lag / np.maximum(end, 1e-9)
        inner = np.asarray(WINDOW_FRACTIONS[1:-1])
        return np.searchsorted(inner, fraction, side="left")


class ContentCovariates:
    """What a video is, before anybody reacted: numbers, categories, text size, embeddings.

    Numbers enter as signed log1p, standardised; categories as indicators of the most frequent ones
    in training; each modality as its first principal components.

    Parameters
    ----------
    components : int
        Principal components kept of each modality.
    """

    def __init__(self, components: int = 24) -> None:
        self.components = components
        self.numbers: dict[str, tuple[float, float]] = {}
        self.categories: dict[str, list[str]] = {}
        self.lengths: dict[str, float] = {}
        self.projections: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def fit(self, videos: pl.DataFrame, features: Any = None) -> "ContentCovariates":
        """Fit scales, categories and components on the training split's videos (and features)."""
        for name, dtype in videos.schema.items():
            if name in NOT_COVARIATES or isinstance(dtype, pl.List | pl.Array):
                continue
            if dtype.is_numeric():
                x = _signed_log(videos[name])
                if np.isfinite(x).any():
                    mean, std = np.nanmean(x), np.nanstd(x)
                    self.numbers[name] = (float(mean), float(std) or 1.0)
            elif dtype in (pl.String, pl.Boolean) or isinstance(dtype, pl.Categorical | pl.Enum):
                counts = videos[name].cast(pl.String).drop_nulls().value_counts(sort=True)
                top = counts.sort("count", name, descending=[True, False])
                self.categories[name] = top[name].head(MAX_CATEGORIES).to_list()
        for name in TEXTS:
            length = _length(videos, name)
            self.lengths[name] = float(np.nanmean(length)) if np.isfinite(length).any() else 0.0
        for m in features.tokens if features is not None else ():
            x = features.pooled(m)[features.present(m)]
            if len(x) > 1:
                mean = x.mean(0)
                _, _, v = np.linalg.svd(x - mean, full_matrices=False)
                self.projections[m] = (mean, v[: self.components])
        return self

    @property
    def names(self) -> list[str]:
        """Names of the columns of `transform`."""
        names = [f"{c}{s}" for c in self.numbers for s in ("", " known")]
        names += [f"{c}={value}" for c, values in self.categories.items() for value in values]
        names += ["title length", "description length"] + _clock_names("published")
        for m, (_, v) in self.projections.items():
            names += [f"{m} {i}" for i in range(len(v))] + [f"{m} present"]
        return names

    def transform(self, videos: pl.DataFrame, features: Any = None) -> np.ndarray:
        """Covariates of N videos, shape (N, len(names)), float64; absent values are 0."""
        columns: list[np.ndarray] = []
        n = videos.height
        for name, (mean, std) in self.numbers.items():
            x = _signed_log(videos[name]) if name in videos.columns else np.full(n, np.nan)
            known = np.isfinite(x)
            columns += [np.where(known, (x - mean) / std, 0.0), known]
        for name, values in self.categories.items():
            text = videos[name].cast(pl.String) if name in videos.columns else None
            for value in values:
                same = (text == value).fill_null(False) if text is not None else [False] * n
                columns.append(np.asarray(same, float))
        for name in TEXTS:
            # a text that is missing is of the usual length: none would be an extreme one
            length = _length(videos, name)
            columns.append(np.where(np.isfinite(length), length, self.lengths[name]))
        columns.append(_clock(videos["published_at"]))
        for m, (centre, v) in self.projections.items():
            if features is not None and m in features.tokens:
                present = features.present(m)
                x = (features.pooled(m) - centre) @ v.T
            else:
                present, x = np.zeros(n, bool), np.zeros((n, len(v)))
            columns += [np.where(present[:, None], x, 0.0), present]
        return np.column_stack([np.asarray(c, float) for c in columns])

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, as plain JSON values."""
        projections = {m: (mu.tolist(), v.tolist()) for m, (mu, v) in self.projections.items()}
        return {
            "components": self.components,
            "numbers": self.numbers,
            "categories": self.categories,
            "lengths": self.lengths,
            "projections": projections,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ContentCovariates":
        """The inverse of `state`."""
        new = cls(state["components"])
        new.numbers = {name: (mean, std) for name, (mean, std) in state["numbers"].items()}
        new.categories = dict(state["categories"])
        new.lengths = dict(state["lengths"])
        for m, (centre, v) in state["projections"].items():
            new.projections[m] = (np.asarray(centre, np.float32), np.asarray(v, np.float32))
        return new


def _with_lag(observed: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """Observed rows of the examples `ids` (video_id, end) with `lag` days before the clock."""
    rows = observed.join(ids, on="video_id", how="inner")
    return rows.with_columns(lag=(pl.col("end") - pl.col("age_days")).clip(lower_bound=0.0))


def _length(videos: pl.DataFrame, name: str) -> np.ndarray:
    """log1p of the characters of each text (N,); NaN where there is none."""
    if name not in videos.columns or videos.schema[name] == pl.Null:
        return np.full(videos.height, np.nan)
    return np.log1p(videos[name].str.len_chars().cast(pl.Float64).fill_null(np.nan).to_numpy())


def _signed_log(column: pl.Series) -> np.ndarray:
    x = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.sign(x) * np.log1p(np.abs(x))


def _clock_names(what: str) -> list[str]:
    return [f"{what} {part} {f}" for part in ("hour", "weekday") for f in ("sin", "cos")]


def _clock(times: pl.Series) -> np.ndarray:
    hour = times.dt.hour().to_numpy() + times.dt.minute().to_numpy() / 60
    turns = np.column_stack([hour / 24, (times.dt.weekday().to_numpy() + hour / 24) / 7])
    angle = 2 * np.pi * turns
    return np.stack([np.sin(angle), np.cos(angle)], 2).reshape(len(times), 4)
