"""A tiny served model for tests of the registry: the total is the seen count plus a shift.

Models from code: MLflow copies this file into the version, like `m3tr/registry/served.py`.
"""

import json
from pathlib import Path

import polars as pl
from mlflow.models import set_model

from m3tr.errors import InputError
from m3tr.registry.served import Served


class SeenCount:
    """Forecaster-shaped: the same predict signature and output columns as the real one."""

    def __init__(self, shift: float, kinds: list[str]) -> None:
        self.shift, self.kinds = shift, kinds

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        content = {"shift": self.shift, "kinds": self.kinds}
        (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "SeenCount":
        return cls(**json.loads((folder / "model.json").read_text(encoding="utf-8")))

    def predict(self, videos, feedback, observed_at=None, features=None) -> pl.DataFrame:
        if unknown := set(feedback["kind"]) - set(self.kinds):
            raise InputError(f"The model does not know the kind {sorted(unknown)[0]}.")
        if observed_at is not None:
            feedback = feedback.filter(pl.col("time") <= observed_at)
        seen = feedback.group_by("video_id").agg(pl.col("count").sum())
        total = (1 + pl.col("count").fill_null(0)).log(2) + self.shift
        return (
            videos.select("video_id")
            .join(seen, on="video_id", how="left")
            .join(pl.DataFrame({"horizon": [0, 1], "horizon_days": [7.0, 14.0]}), how="cross")
            .with_columns(increment=total - 1, total=total)
            .with_columns(
                increment_lo=pl.when(pl.col("horizon") == 0).then(pl.col("increment") - 1),
                increment_hi=pl.when(pl.col("horizon") == 0).then(pl.col("increment") + 1),
            )
            .drop("count")
        )


class StandIn(Served):
    """The served model with another forecaster behind it."""

    def load(self, folder: Path) -> SeenCount:
        return SeenCount.load(folder)


set_model(StandIn())
