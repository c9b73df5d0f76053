"""Trajectory classes of curves whose class is plain."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.evaluation.classes import BINS, binned, classify, trajectory_classes

START = datetime(2024, 1, 1, tzinfo=UTC)
DAILY = np.arange(1, 25)


def _two_surges():
    return np.where((DAILY <= 3) | ((DAILY > 12) & (DAILY <= 15)), 100, 1)


CURVES = {
    "steady": np.full(24, 10),
    "early surge": np.where(DAILY <= 4, 100, 2),
    "late surge": np.where(DAILY > 20, 100, 2),
    "rollercoaster": _two_surges(),
    "sparse": np.where(DAILY <= 4, 2, 0),
}


@pytest.mark.parametrize("name", CURVES)
def test_class_from_a_counter_series(name):
    counts = CURVES[name]
    feedback = pl.DataFrame(
        {
            "video_id": ["v"] * 24,
            "time": [START + timedelta(days=int(d)) for d in DAILY],
            "kind": ["view"] * 24,
            "count": counts.astype(np.int64),
        }
    ).filter(pl.col("count") > 0)
    other = feedback.with_columns(kind=pl.lit("like"), count=pl.lit(1_000_000, pl.Int64))
    late = feedback.with_columns(
        time=pl.col("time") + timedelta(days=24), count=pl.lit(10**6, pl.Int64)
    )
    examples = pl.DataFrame(
        {"video_id": ["v", "w"], "published_at": [START] * 2, "horizon_days": [[12.0, 24.0]] * 2}
    )
    got = trajectory_classes(pl.concat([late, feedback, other]), examples, "view")
    assert got["video_id"].to_list() == ["v", "w"]
    assert got["class"].to_list() == [name, "sparse"]


def test_the_class_does_not_depend_on_how_often_counters_are_read():
    age = np.arange(1, 481) / 20
    fine = np.interp(age, np.concatenate([[0], DAILY]), np.cumsum([0, *_two_surges()]))
    fine = np.diff(fine, prepend=0)
    assert np.allclose(binned(age, fine, 24.0), binned(DAILY * 1.0, _two_surges(), 24.0))


def test_counting_noise_is_no_rollercoaster():
    rng = np.random.default_rng(0)
    got = [classify(rng.poisson(10, BINS)) for _ in range(300)]
    assert got.count("rollercoaster") <= 6
