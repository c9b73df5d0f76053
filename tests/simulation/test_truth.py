"""The feedback is a draw from the process that truth.json and truth.parquet describe."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest

DAY_US = 86_400_000_000


def _exogenous(row: dict, truth: dict, ages: np.ndarray) -> np.ndarray:
    """Integral of the immigration over `(0, age]`, from the formulas of docs/simulation.md."""
    cell = truth["cell_days"]
    s = (np.arange(int(np.ceil(10 / cell))) + 0.5) * cell
    rate = row["trend_weight"] / row["trend_days"] * np.exp(-s / row["trend_days"])
    for c, w, b in zip(row["surge_age"], row["surge_width"], row["surge_weight"], strict=True):
        rate = rate + b / np.sqrt(2 * np.pi * w**2) * np.exp(-((s - c) ** 2) / (2 * w**2))
    hour = row["publication_hour"] + 24 * s
    clock = truth["clock"]
    rate = rate * (1 + clock["swing"] * np.cos((hour - clock["peak_hour_utc"]) * np.pi / 12))
    knots = np.append(s - cell / 2, 10.0)
    return np.interp(ages, knots, np.append(0, np.cumsum(rate * cell))) * row["volume"]


def _rescaled(out: Path, scale: float) -> list[np.ndarray]:
    """Per kind, gaps of the events on the compensator's clock, the videos' clocks end to end.

    Laying the clocks end to end keeps the last, censored gap of each video. `scale` multiplies the
    branching: 1 is the truth.
    """
    truth = json.loads((out / "data/truth.json").read_text())
    alpha, beta = np.array(truth["alpha"]) * scale, np.array(truth["beta"])
    rows = {r["video_id"]: r for r in pl.read_parquet(out / "data/truth.parquet").to_dicts()}
    videos = pl.read_parquet(out / "data/videos.parquet").select("video_id", "published_at")
    feedback = pl.read_parquet(out / "data/feedback.parquet").join(videos, on="video_id")
    us = (feedback["time"] - feedback["published_at"]).dt.total_microseconds()
    feedback = feedback.with_columns(us=us)
    clocks: list[list[np.ndarray]] = [[] for _ in truth["kinds"]]
    offset = np.zeros(len(truth["kinds"]))
    for (video_id,), part in feedback.partition_by("video_id", as_dict=True).items():
        row = rows[video_id]
        fake = np.isin(part["us"], row["fake_like_us"]) & (part["kind"] == "like").to_numpy()
        age = part["us"].to_numpy()[~fake] / DAY_US
        kind = np.array([truth["kinds"].index(k) for k in part["kind"]])[~fake]
        order = np.argsort(age, kind="stable")
        age, kind = age[order], kind[order]
        at = np.append(age, 10.0)
        gap = np.maximum(at[:, None] - age[None, :], 0.0)
        memory = [1 - np.exp(-b * gap) for b in beta]  # brute force: every event on every other
        immigrants = _exogenous(row, truth, at)
        for k, share in enumerate(row["mix"]):
            compensator = share * immigrants
            for m, b in enumerate(beta):
                compensator = compensator + memory[m] @ (alpha[m, k, kind] / b)
            clocks[k].append(offset[k] + compensator[:-1][kind == k])
            offset[k] += compensator[-1]
    return [np.diff(np.concatenate([[0.0], *c])) for c in clocks]


def test_residuals_of_the_true_process_are_exponential(world: tuple[Path, dict]) -> None:
    for gaps in _rescaled(world[0], 1.0):
        assert len(gaps) > 500
        assert kstest(gaps, "expon").pvalue > 0.01


def test_residuals_of_a_wrong_process_are_not(world: tuple[Path, dict]) -> None:
    assert kstest(_rescaled(world[0], 0.7)[0], "expon").pvalue < 1e-6


def test_fake_likes_are_rows_and_bring_no_views(world: tuple[Path, dict]) -> None:
    out = world[0]
    truth = pl.read_parquet(out / "data/truth.parquet").filter("fake_burst")
    feedback = pl.read_parquet(out / "data/feedback.parquet")
    videos = pl.read_parquet(out / "data/videos.parquet").select("video_id", "published_at")
    fake = (
        truth.select("video_id", us="fake_like_us")
        .explode("us")
        .join(videos, on="video_id")
        .with_columns(time=pl.col("published_at") + pl.duration(microseconds="us"))
    )
    rows = feedback.filter(pl.col("kind") == "like").join(fake, on=["video_id", "time"], how="semi")
    assert rows.height == fake.height
    # in the hour of the burst likes outnumber views, which nothing natural does by so much
    for r in truth.iter_rows(named=True):
        part = feedback.join(videos, on="video_id").filter(pl.col("video_id") == r["video_id"])
        age = (part["time"] - part["published_at"]).dt.total_microseconds() / DAY_US
        last = r["fake_burst_age_days"] + r["fake_burst_minutes"] / 1440 + 1e-6
        kinds = part.filter(age.is_between(r["fake_burst_age_days"], last))["kind"]
        assert (kinds == "like").sum() > 2 * (kinds == "view").sum()


def test_immigration_integrates_to_the_weights() -> None:
    from m3tr.simulation.process import SHAPES, Profile, immigration

    for name, s in SHAPES.items():
        p = Profile(
            100.0, s.trend_weight, s.trend_days, s.surge_age, s.surge_width, s.surge_weight, s.mix
        )
        times, rates = immigration(p, 0.0, 60.0)
        total = rates.sum() * (times[1] - times[0])
        weight = 100.0 * (s.trend_weight + sum(s.surge_weight))
        assert sum(s.mix) == pytest.approx(1.0)
        assert total == pytest.approx(weight, rel=0.25), name  # early surges are cut at age 0
