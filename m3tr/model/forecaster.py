"""M3TR as one value: everything from two tables to forecasts, saved in one folder.

forecaster = Forecaster.load(folder)
forecaster.predict(videos, feedback)   # -> one row a video and horizon
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from m3tr.data.covariates import ContentCovariates, FeedbackCovariates
from m3tr.data.ridge import BaseForecast
from m3tr.data.settings import TaskSettings, days
from m3tr.data.tables import feedback_table, require
from m3tr.errors import InputError
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features
from m3tr.forest import Forest
from m3tr.memory.bank import Bank
from m3tr.memory.contract import violations
from m3tr.memory.keys import KeyMaker, Keys
from m3tr.memory.neighbours import Neighbours
from m3tr.memory.settings import BankSettings
from m3tr.model import remember, storage
from m3tr.model.blend import Blend
from m3tr.model.classes import ClassCovariates
from m3tr.model.heads import RESIDUAL, BoostedHead
from m3tr.model.inputs import Inputs, Tokens, creator_summary, label_summary, retrieved_tokens
from m3tr.model.intervals import Intervals
from m3tr.model.queries import Queries, at_clock, keys_at_ages, make_queries
from m3tr.model.tokens import Tokeniser

if TYPE_CHECKING:
    from m3tr.hawkes.process import MambaHawkes
    from m3tr.model.network import M3TRNetwork

EARLIER = 8  # videos of the same creator that are looked at
FORECASTS = {
    "video_id": pl.String,
    "horizon": pl.Int64,
    **dict.fromkeys(
        ("horizon_days", "increment", "total", "increment_lo", "increment_hi"), pl.Float64
    ),
}


@dataclass
class Forecaster:
    """Base forecast, retrieval, network, boosted trees and forests (docs/model.md, 3 to 5).

    Attributes
    ----------
    task, bank_settings, feature_settings
        Settings it was trained with.
    feedback, content : covariates
        Fitted on the training split, like `tokeniser`, `key_maker` and `base`.
    mhp : MambaHawkes
    classes : ClassCovariates
        Of the latent trajectory classes; without a fitted process it gives none.
    bank : Bank
        Training videos; values `increment`, `curve`, `residual` (out of fold), `token.*`, `mask.*`.
    network : M3TRNetwork or None
    boosted, forests : mappings of BoostedHead and Forest
        Of the base forecast's residual and of the label itself, by `m3tr.model.heads.TARGETS`.
    blend : Blend
        Of the network and all heads.
    intervals : Intervals
        The predictive distribution around the forecast.
    fitted, held_out : ndarray of uint64
        Digests of the training videos' ids, and of those of validation and test (`as_digests`): a
        model that is shipped names nobody.
    """

    task: TaskSettings
    bank_settings: BankSettings
    feature_settings: FeatureSettings
    feedback: FeedbackCovariates
    content: ContentCovariates
    tokeniser: Tokeniser
    key_maker: KeyMaker
    base: BaseForecast
    mhp: "MambaHawkes"
    bank: Bank
    network: "M3TRNetwork | None" = None
    boosted: Mapping[str, BoostedHead] = field(default_factory=dict)
    forests: Mapping[str, Forest] = field(default_factory=dict)
    blend: Blend = field(default_factory=Blend)
    intervals: Intervals = field(default_factory=Intervals)
    classes: ClassCovariates = field(default_factory=ClassCovariates)
    fitted: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    held_out: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))

    def predict(
        self,
        videos: pl.DataFrame,
        feedback: pl.DataFrame,
        observed_at: datetime | None = None,
        features: Features | None = None,
    ) -> pl.DataFrame:
        """Forecast the target's count at every horizon.

        Parameters
        ----------
        videos, feedback : DataFrame
            The two tables (docs/data.md); feedback after the clock is not used.
        observed_at : datetime, optional
            The clock of all videos; without it, the task's own.
        features : Features, optional
            Already extracted content features; without them they are extracted from the media
            paths (absolute, or relative to the working directory) and texts.

        Returns
        -------
        DataFrame
            `video_id`, `horizon`, `horizon_days`, `increment`, `total`, `increment_lo`,
            `increment_hi`: log2(1 + count), a row for each video and horizon, in the order of
            `videos`.

        Raises
        ------
        InputError
            As `queries`; where a column is missing or has another type.

        Warns
        -----
        UserWarning
            Where media or texts cannot be read: the video counts as one that has none. Where
            feedback by the clock has kinds that the training data did not have: they are left out.
        """
        require(videos, ("video_id", "published_at"), Path("videos"))
        feedback = feedback_table(feedback, Path("feedback"))
        if videos.is_empty():
            return pl.DataFrame(schema=FORECASTS)
        queries = self.queries(videos, feedback, observed_at, features)
        inputs = self.inputs(queries, self.retrieve(queries))
        increment = self.forecast_inputs(inputs)
        lo, hi = self.intervals.interval(inputs.everything, increment)
        n, h = increment.shape
        seen = (
            queries.observed.filter(pl.col("kind") == self.task.target, pl.col("age_days") > 0)
            .group_by("video_id")
            .agg(pl.col("count").sum())
        )
        count = queries.examples.join(seen, on="video_id", how="left", maintain_order="left")
        before = count["count"].fill_null(0).to_numpy()[:, None]
        return pl.DataFrame(
            {
                "video_id": np.repeat(queries.examples["video_id"].to_numpy(), h),
                "horizon": np.tile(np.arange(h), n),
                "horizon_days": queries.examples["horizon_days"].explode().to_numpy(),
                "increment": increment.ravel(),
                "total": np.log2(before + np.exp2(increment)).ravel(),
                "increment_lo": lo.ravel(),
                "increment_hi": hi.ravel(),
            },
            FORECASTS,
        )

    def queries(
        self,
        videos: pl.DataFrame,
        feedback: pl.DataFrame,
        observed_at: datetime | None = None,
        features: Features | None = None,
    ) -> Queries:
        """What may be known of `videos` on the clock.

        Raises
        ------
        InputError
            Where a video is not yet published, or features come from another encoder.
        """
        task = self.task if observed_at is None else at_clock(self.task, observed_at)
        if features is None:
            features, broken = remember.content_of(self, videos, Path(), trusted=True)
            remember.tell_unread(broken)
        queries = make_queries(videos, feedback, task, self.mhp, features)
        for m, (_, width) in queries.features.shapes.items():
            fitted = len(self.tokeniser.arrays.get(f"{m}.axes", range(width)))
            if width != fitted:
                raise InputError(
                    f"features: {m} tokens have {width} dimensions, the model was trained on "
                    f"{fitted}: extract them with the encoder it was trained with"
                )
        return queries

    def covariates(self, queries: Queries, said: np.ndarray | None = None) -> np.ndarray:
        """All numbers of the queries, shape (N, D): feedback, content, X_s, latent classes.

        `said` (N, 1 + C) replaces what content says of the classes; out of fold, in training.
        """
        content = self.content.transform(queries.videos, queries.features)
        return np.hstack(
            [
                self.feedback.transform(queries.observed, queries.examples),
                content,
                self.key_maker.standardise(queries.x_s),
                self.classes.of(queries, self.mhp.kinds, content, said),
            ]
        )

    def retrieve(self, queries: Queries) -> Neighbours:
        """Neighbours of each query that it may be shown (docs/model.md, section 2)."""
        if not self.bank_settings.retrieve:
            return Neighbours.nobody(len(queries.x_s), self.bank_settings.k)
        keys, ages = self.keys(queries)
        return self.bank.search(
            keys,
            self.bank_settings.k,
            known_by=self.known_by(queries),
            exclude=self.withheld(queries),
            age=ages,
        )

    def earlier(self, queries: Queries) -> Neighbours:
        """The latest videos of each query's creator that it may be shown."""
        if not self.bank_settings.retrieve:
            return Neighbours.nobody(len(queries.x_s), EARLIER)
        known_by, withheld = self.known_by(queries), self.withheld(queries)
        return self.bank.groups().latest(queries.videos, EARLIER, known_by, withheld)

    def known_by(self, queries: Queries) -> np.ndarray | None:
        """By when an item's outcome must have been known, (N,); None under the random split."""
        return queries.examples["observed_at"].to_numpy() if self.task.split == "temporal" else None

    def withheld(self, queries: Queries) -> list[np.ndarray]:
        """Positions that each query is not shown (`Bank.withheld`)."""
        return self.bank.withheld(queries.videos, self.task.group_by)

    def keys(self, queries: Queries) -> tuple[Keys, np.ndarray]:
        """What a search compares of N queries.

        A query meets the items as they were at the last age of the bank that it has reached; one
        that has reached none has no trajectory to compare (docs/retrieval.md, "Ages").

        Returns
        -------
        keys : Keys
            Trajectory (N, D_s) and, by modality, content (N, D_m); zeros where a query lacks it.
        ages : ndarray, shape (N,)
            The age, days, at which each trajectory was seen; NaN for the task's own.
        """
        own = self.task.observe.age
        if own is None:
            keys = self.key_maker.keys(queries.x_s, self.compared(queries))
            return keys, np.full(len(keys), np.nan)
        return keys_at_ages(queries, self.compared(queries), self.key_maker, self.mhp, days(own))

    def compared(self, queries: Queries) -> dict[str, np.ndarray]:
        """What content keys are made of, (N, D_m): embeddings, and numbers where the bank does."""
        return remember.content_of_keys(queries.videos, queries.features, self.bank.numbers)

    @property
    def information(self) -> Literal["CF", "CFR"]:
        """What a forecast is made from: content and feedback, and what is retrieved."""
        return "CFR" if self.bank_settings.retrieve else "CF"

    def took_part(self, videos: pl.DataFrame) -> np.ndarray:
        """Whether each video is one of the training split, shape (N,)."""
        return np.isin(remember.as_digests(videos["video_id"]), self.fitted)

    def holds_out(self, videos: pl.DataFrame) -> np.ndarray:
        """Whether each video is one of the validation or test split, shape (N,)."""
        return np.isin(remember.as_digests(videos["video_id"]), self.held_out)

    def breaches(self, queries: Queries, found: Neighbours, held_out: set[str]) -> dict[str, int]:
        """Breaches of the information contract among what `queries` were shown; all must be 0."""
        causal, group_by = self.task.split == "temporal", self.task.group_by
        asked = remember.items_of(queries.examples, queries.videos, group_by)
        both = [
            violations(self.bank, asked, each, held_out, causal, group_by)
            for each in (found, self.earlier(queries))
        ]
        # the bank's own items are the same for both
        return {clause: max(both[0][clause], both[1][clause]) for clause in both[0]}

    def inputs(
        self,
        queries: Queries,
        neighbours: Neighbours,
        x: np.ndarray | None = None,
        base: np.ndarray | None = None,
    ) -> Inputs:
        """Inputs of the heads.

        Covariates `x` (N, D) and base forecasts `base` (N, H) are given where they are out of fold,
        in training.
        """
        x = self.covariates(queries) if x is None else x
        base = self.base.predict(x) if base is None else base
        weights = neighbours.weights(self.bank_settings.weighting, self.bank_settings.temperature)
        used, near = neighbours.compact()
        labels, residuals = (self.bank.take(name, used) for name in ("increment", "residual"))
        own = self.earlier(queries)
        its_labels, its_residuals = (
            self.bank.take(name, own.index) for name in ("increment", "residual")
        )
        return Inputs(
            video=self.tokens(queries, x, base),
            retrieved=retrieved_tokens(self.remembered_tokens(used), near, weights),
            summary=self.tokeniser.scale_summary(
                np.hstack(
                    [
                        label_summary(labels, residuals, near, weights, base),
                        creator_summary(its_labels, its_residuals, own.found, base),
                    ]
                )
            ),
            base=base,
            numbers=np.hstack([x, base]),
        )

    def tokens(self, queries: Queries, x: np.ndarray, base: np.ndarray) -> Tokens:
        """X: tokens of the queries, from their covariates `x` (N, D) and base forecasts (N, H)."""
        feedback = len(self.feedback.names)
        content = len(self.content.names)
        temporal = np.hstack([x[:, :feedback], x[:, feedback + content :], base])
        metadata = x[:, feedback : feedback + content]
        return self.tokeniser.tokens(queries.features, metadata, temporal)

    def remembered_tokens(self, positions: np.ndarray) -> Tokens:
        """Tokens of the items at some positions."""
        names = [n.removeprefix("mask.") for n in self.bank.remembered if n.startswith("mask.")]
        return Tokens(
            {m: self.bank.take(f"token.{m}", positions) for m in names},
            {m: self.bank.take(f"mask.{m}", positions) for m in names},
        )

    def forecast(self, queries: Queries, neighbours: Neighbours) -> np.ndarray:
        """Increment at every horizon (N, H), log2(1 + count), never below 0."""
        return self.forecast_inputs(self.inputs(queries, neighbours))

    def forecast_inputs(self, inputs: Inputs) -> np.ndarray:
        """Increment at every horizon (N, H), from inputs."""
        return np.maximum(inputs.base + self.blend([*self.corrections(inputs).values()]), 0.0)

    def corrections(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """By head, how far it would correct the base forecast: (N, H), log2 units."""
        parts = {}
        if self.network is not None:
            from m3tr.model.network import increments

            parts["network"] = increments(self.network, inputs) - inputs.base
        everything = inputs.everything
        for kind, heads in (("boosted", self.boosted), ("forest", self.forests)):
            for target, head in heads.items():
                forecast = head.predict(everything)
                less = 0 if target == RESIDUAL else inputs.base
                parts[f"{kind} {target}"] = forecast - less
        return parts

    def save(self, folder: Path) -> None:
        """Write everything to `folder`, replacing what was there at once."""
        storage.save(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "Forecaster":
        """Read what `save` wrote; InputError where `folder` holds no whole forecaster."""
        return cls(**storage.load(folder))
