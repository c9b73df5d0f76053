"""Outcome curves, and which kinds of feedback there are, against plain loops."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from m3tr.data.settings import Observe, TaskSettings
from m3tr.data.windows import clocks, feedback_kinds, growth_curves, observed

BORN = datetime(2025, 1, 1, tzinfo=UTC)
HORIZON = timedelta(days=4)
POINTS = 8
VIDEOS = pl.DataFrame(
    {"video_id": ["a", "b"], "published_at": [BORN, BORN + timedelta(hours=5)]},
    schema={"video_id": pl.String, "published_at": pl.Datetime("us", "UTC")},
)
TASK = TaskSettings(observe=Observe(age=timedelta(days=1)), horizons=(HORIZON,))
row = st.tuples(
    st.sampled_from(["a", "b"]),
    st.integers(-10, 130),  # hours; every 12 h an edge of the grid of video a
    st.sampled_from(["view", "like"]),
    st.integers(1, 50),
)


def table(rows):
    columns = {"video_id": pl.String, "time": pl.Datetime("us", "UTC"), "kind": pl.String}
    at = [(v, BORN + timedelta(hours=h), k, c) for v, h, k, c in rows]
    return pl.DataFrame(at, schema=columns | {"count": pl.Int64}, orient="row")


@settings(max_examples=60, deadline=None)
@given(st.lists(row, max_size=12))
def test_curves_count_what_came_by_each_step(rows):
    curves = growth_curves(table(rows), clocks(VIDEOS, TASK), "view", POINTS)
    for i, (video, born) in enumerate(VIDEOS.rows()):
        for step in range(POINTS):
            until = born + (step + 1) * HORIZON / POINTS
            came = sum(
                c
                for v, h, k, c in rows
                if (v, k) == (video, "view") and born < BORN + timedelta(hours=h) <= until
            )
            assert math.isclose(curves[i, step], np.log2(1 + came), rel_tol=1e-6, abs_tol=1e-6)


def test_a_kind_that_comes_up_after_the_clock_is_no_kind():
    rows = [("a", 3, "view", 1), ("a", 20, "like", 1), ("b", 100, "danmaku", 9)]
    examples = clocks(VIDEOS, TASK)
    assert feedback_kinds(observed(table(rows), examples), "view") == ["view", "like"]
    assert feedback_kinds(observed(table(rows[1:]), examples), "view") == ["view", "like"]
