"""Ways to rewrite what a forecast may not know."""

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from m3tr.data.windows import clocks
from m3tr.memory.bank import Bank
from m3tr.model.heads import LABEL, RESIDUAL, BoostedHead, Rows
from m3tr.training.fit import labels

UNTIL = timedelta(days=9)


def rewrite_after(
    feedback: pl.DataFrame, videos: pl.DataFrame, tau: pl.DataFrame, seed: int = 0
) -> pl.DataFrame:
    """Feedback whose rows after each video's clock are dropped, moved, renamed, inflated, added.

    `tau`: video_id, observed_at. Rows up to the clock stay, in another order.
    """
    rng = np.random.default_rng(seed)
    rows = feedback.join(tau, on="video_id", how="left")
    late = pl.col("time") > pl.col("observed_at")
    kept, later = rows.filter(~late), rows.filter(late)
    n = later.height
    kinds = [*feedback["kind"].unique().sort(), "a kind that comes up later"]
    drop = rng.random(n) < 0.3
    # as close to the clock as a time can be, and far beyond every horizon
    shift = rng.choice([1, 60_000_000, int(UNTIL.total_seconds() * 1e6)], n)
    moved = later.with_columns(
        time=pl.col("observed_at") + pl.Series(shift).cast(pl.Duration("us")),
        kind=pl.Series(rng.choice(kinds, n)),
        count=pl.Series(rng.integers(1, 10_000, n)),
    ).filter(~pl.Series(drop))
    added = tau.with_columns(
        time=pl.col("observed_at") + timedelta(microseconds=1),
        kind=pl.lit(str(kinds[0])),
        count=pl.lit(10**6, dtype=pl.Int64),
    )
    parts = [t.select(feedback.columns) for t in (kept, moved, added)]
    return pl.concat(parts).sample(fraction=1, shuffle=True, seed=seed)


@pytest.fixture
def after_clocks(tiny_forecaster) -> Callable[..., pl.DataFrame]:
    """`after_clocks(observed_at, seed)`: the tiny feedback, rewritten after every video's clock."""

    def rewrite(observed_at: datetime | None = None, seed: int = 0) -> pl.DataFrame:
        videos = tiny_forecaster.videos
        tau = clocks(videos, tiny_forecaster.task).select("video_id", "observed_at")
        if observed_at is not None:
            tau = tau.with_columns(observed_at=pl.lit(observed_at).dt.cast_time_unit("us"))
        return rewrite_after(tiny_forecaster.feedback, videos, tau, seed)

    return rewrite


@pytest.fixture
def with_rows(tiny_forecaster) -> Callable[..., pl.DataFrame]:
    """`with_rows(shift, count)`: the tiny feedback, and a row of each test video at its clock."""
    examples = tiny_forecaster.examples.filter(pl.col("split") == "test")

    def add(shift: timedelta, count: int) -> pl.DataFrame:
        rows = examples.select(
            "video_id",
            time=pl.col("observed_at") + shift,
            kind=pl.lit("view"),
            count=pl.lit(count, dtype=pl.Int64),
        )
        return pl.concat([tiny_forecaster.feedback, rows])

    return add


@pytest.fixture
def every_head(tiny_forecaster, tiny_queries) -> Any:
    """The tiny forecaster with a network and boosted heads that answer to all they are given.

    Where validation chose the first epoch a network says the mean whatever it is shown, and where
    it chose fewer inputs a head does not read the rest: both would hide a leak.
    """
    network = copy.deepcopy(tiny_forecaster.forecaster.network)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(network.head.weight, generator=generator)
    f = tiny_forecaster.forecaster
    train = tiny_queries["train"]
    inputs, y = f.inputs(train, f.retrieve(train)), labels(train)
    targets = {RESIDUAL: y - inputs.base, LABEL: y}
    rows = {t: Rows(inputs.everything, each, np.ones(len(y))) for t, each in targets.items()}
    every = np.arange(inputs.everything.shape[1])
    boosted = {t: BoostedHead.fit([(r, every)], r, 1, 1, 0) for t, r in rows.items()}
    heads = replace(f, network=network, boosted=boosted)
    return replace(tiny_forecaster, forecaster=heads)


@pytest.fixture
def rebuilt() -> Callable[..., Bank]:
    """`rebuilt(bank, items=..., values=...)`: a bank with other items or values and equal keys."""

    def build(bank: Bank, items: pl.DataFrame | None = None, values: Any = None) -> Bank:
        return Bank.build(
            bank.items if items is None else items,
            bank.keys,
            values or bank.values,
            eta=bank.manifest.eta,
            weights=bank.manifest.weights,
            numbers=bank.numbers,
        )

    return build
