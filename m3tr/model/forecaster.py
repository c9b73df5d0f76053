"""M3TR as one value: everything from two tables to forecasts, saved in one folder.

forecaster = Forecaster.load(folder)
forecaster.predict(videos, feedback)   # -> one row a video and horizon
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from m3tr.data.covariates import ContentCovariates, FeedbackCovariates
from m3tr.data.ridge import BaseForecast
from m3tr.data.settings import TaskSettings, days
from m3tr.errors import InputError
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features
from m3tr.memory.bank import Bank
from m3tr.memory.contract import violations
from m3tr.memory.keys import KeyMaker, Keys
from m3tr.memory.neighbours import Neighbours
from m3tr.memory.settings import BankSettings
from m3tr.model.boosted import BoostedHead
from m3tr.model.inputs import Inputs, Tokens, label_summary, retrieved_tokens
from m3tr.model.queries import Queries, at_clock, keys_at_ages, make_queries
from m3tr.model.remember import as_digests, content_of, content_of_keys, items_of
from m3tr.model.tokens import Tokeniser

if TYPE_CHECKING:
    from m3tr.hawkes.process import MambaHawkes
    from m3tr.model.network import M3TRNetwork


@dataclass
class Forecaster:
    """Base forecast, retrieval, networks and boosted head (docs/model.md, sections 3 to 5).

    Attributes
    ----------
    task, bank_settings, feature_settings
        Settings it was trained with.
    feedback, content : covariates
        Fitted on the training split, like `tokeniser`, `key_maker` and `base`.
    mhp : MambaHawkes
    bank : Bank
        Training videos; values `increment`, `curve`, `residual` (out of fold), `token.*`, `mask.*`.
    networks : sequence of M3TRNetwork
        Their forecasts are averaged.
    boosted : BoostedHead
    half_width : ndarray, shape (H,)
        Half width of the conformal prediction intervals, log2 units.
    fitted, held_out : ndarray of uint64
        Digests of the training videos' ids, and of those of validation and test (`as_digests`): a
        model that is shipped names nobody. Empty where an earlier version trained it.
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
    networks: Sequence["M3TRNetwork"] = ()
    boosted: BoostedHead | None = None
    half_width: np.ndarray = field(default_factory=lambda: np.zeros(0))
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
        """
        queries = self.queries(videos, feedback, observed_at, features)
        neighbours = self.retrieve(queries)
        increment = self.forecast(queries, neighbours)
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
                "increment_lo": np.maximum(increment - self.half_width, 0).ravel(),
                "increment_hi": (increment + self.half_width).ravel(),
            }
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
            features, _ = content_of(self, videos, Path(), trusted=True)
        queries = make_queries(videos, feedback, task, self.mhp, features)
        for m, (_, width) in queries.features.shapes.items():
            fitted = len(self.tokeniser.arrays.get(f"{m}.axes", range(width)))
            if width != fitted:
                raise InputError(
                    f"features: {m} tokens have {width} dimensions, the model was trained on "
                    f"{fitted}: extract them with the encoder it was trained with"
                )
        return queries

    def covariates(self, queries: Queries) -> np.ndarray:
        """All numbers of the queries, shape (N, D): feedback, content, X_s."""
        parts = [
            self.feedback.transform(queries.observed, queries.examples),
            self.content.transform(queries.videos, queries.features),
            self.key_maker.standardise(queries.x_s),
        ]
        return np.hstack(parts)

    def retrieve(self, queries: Queries) -> Neighbours:
        """Neighbours of each query that it may be shown (docs/model.md, section 2)."""
        causal = self.task.split == "temporal"
        keys, ages = self.keys(queries)
        return self.bank.search(
            keys,
            self.bank_settings.k,
            known_by=queries.examples["observed_at"].to_numpy() if causal else None,
            exclude=self.bank.alike(queries.videos),
            age=ages,
        )

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
        return content_of_keys(queries.videos, queries.features, self.bank.numbers)

    def took_part(self, videos: pl.DataFrame) -> np.ndarray:
        """Whether each video is one of the training split, shape (N,)."""
        return np.isin(as_digests(videos["video_id"]), self.fitted)

    def holds_out(self, videos: pl.DataFrame) -> np.ndarray:
        """Whether each video is one of the validation or test split, shape (N,)."""
        return np.isin(as_digests(videos["video_id"]), self.held_out)

    def breaches(self, queries: Queries, found: Neighbours, held_out: set[str]) -> dict[str, int]:
        """Breaches of the information contract among what `queries` were shown; all must be 0."""
        asked = items_of(queries.examples, queries.videos)
        return violations(self.bank, asked, found, held_out, self.task.split == "temporal")

    def inputs(
        self, queries: Queries, neighbours: Neighbours, base: np.ndarray | None = None
    ) -> Inputs:
        """Network inputs; `base` (N, H) replaces the base forecast (out of fold, in training)."""
        x = self.covariates(queries)
        base = self.base.predict(x) if base is None else base
        weights = neighbours.weights(self.bank_settings.weighting, self.bank_settings.temperature)
        used, near = neighbours.compact()
        labels, residuals = (self.bank.take(name, used) for name in ("increment", "residual"))
        return Inputs(
            video=self.tokens(queries, x, base),
            retrieved=retrieved_tokens(self.remembered_tokens(used), near, weights),
            summary=self.tokeniser.scale_summary(
                label_summary(labels, residuals, near, weights, base)
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
        """The same, from inputs."""
        from m3tr.model.network import residuals

        parts = [np.mean([residuals(network, inputs) for network in self.networks], 0)]
        if self.boosted is not None:
            parts.append(self.boosted.predict(inputs.everything))
        return np.maximum(inputs.base + np.mean(parts, 0), 0.0)

    def save(self, folder: Path) -> None:
        """Write everything to `folder`, replacing what was there at once."""
        from safetensors.numpy import save_file

        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        state = {
            "task": self.task.model_dump(mode="json"),
            "bank": self.bank_settings.model_dump(mode="json"),
            "features": self.feature_settings.model_dump(mode="json"),
            "feedback": self.feedback.state(),
            "content": self.content.state(),
            "networks": [asdict(network.config) for network in self.networks],
        }
        (partial / "forecaster.json").write_text(json.dumps(state, indent=1))
        own = ("half_width", "fitted", "held_out")
        arrays: dict[str, np.ndarray] = {name: getattr(self, name) for name in own}
        for name, part in self._fitted().items():
            arrays |= {f"{name}/{key}": value for key, value in part.items()}
        for i, network in enumerate(self.networks):
            weights = {k: v.detach().numpy() for k, v in network.state_dict().items()}
            arrays |= {f"network{i}/{key}": value for key, value in weights.items()}
        save_file(
            {k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial / "arrays.safetensors"
        )
        self.mhp.save(partial / "mhp")
        self.bank.save(partial / "bank")
        if self.boosted is not None:
            for h, text in enumerate(self.boosted.models):
                (partial / f"boosted.{h}.txt").write_text(text)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)

    @classmethod
    def load(cls, folder: Path) -> "Forecaster":
        """Read what `save` wrote; InputError where `folder` holds no whole forecaster."""
        from safetensors import SafetensorError

        folder = Path(folder)
        try:
            state = json.loads((folder / "forecaster.json").read_text())
        except (OSError, json.JSONDecodeError):
            raise InputError(f"{folder} holds no forecaster: run the stage `train`") from None
        try:
            return cls._read(folder, state)
        except InputError:
            raise
        except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as e:
            raise InputError(
                f"{folder} holds a damaged forecaster, or one of another version of m3tr "
                f"({next(iter(str(e).splitlines()), e)}): copy it anew, or run the stage `train`"
            ) from e

    @classmethod
    def _read(cls, folder: Path, state: Mapping[str, Any]) -> "Forecaster":
        from safetensors.numpy import load_file

        from m3tr.hawkes.process import MambaHawkes
        from m3tr.model.network import load_network

        arrays = load_file(folder / "arrays.safetensors")

        def part(name: str) -> dict[str, np.ndarray]:
            return {
                k.removeprefix(name + "/"): v for k, v in arrays.items() if k.startswith(name + "/")
            }

        boosted = sorted(folder.glob("boosted.*.txt"), key=lambda p: int(p.name.split(".")[1]))
        mhp, maker = MambaHawkes.load(folder / "mhp"), KeyMaker.from_arrays(part("keys"))
        made_with = {"mhp": mhp.fingerprint(), "keys": maker.fingerprint()}
        return cls(
            task=TaskSettings.model_validate(state["task"]),
            bank_settings=BankSettings(**state["bank"]),
            feature_settings=FeatureSettings(**state["features"]),
            feedback=FeedbackCovariates.from_state(state["feedback"]),
            content=ContentCovariates.from_state(state["content"]),
            tokeniser=Tokeniser.from_arrays(part("tokeniser")),
            key_maker=maker,
            base=BaseForecast.from_arrays(part("base")),
            mhp=mhp,
            bank=Bank.open(folder / "bank", made_with),
            networks=[
                load_network(config, part(f"network{i}"))
                for i, config in enumerate(state["networks"])
            ],
            boosted=BoostedHead([p.read_text() for p in boosted]) if boosted else None,
            half_width=arrays["half_width"],
            fitted=arrays.get("fitted", np.zeros(0, np.uint64)),
            held_out=arrays.get("held_out", np.zeros(0, np.uint64)),
        )

    def _fitted(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        return {
            "tokeniser": self.tokeniser.arrays,
            "keys": self.key_maker.arrays,
            "base": self.base.arrays,
        }
