"""A small synthetic split whose labels are known functions of known columns."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.baselines.base import Data

START = datetime(2024, 1, 1, tzinfo=UTC)


def make(
    increment: np.ndarray,
    X_feedback: np.ndarray,
    X_content: np.ndarray,
    observed: np.ndarray | None = None,
    events: list[np.ndarray] | None = None,
    age: float = 1.0,
    lead: float = 6.0,
) -> Data:
    """Data of N videos; `events` are ages in days, `observed` their numbers where not given."""
    n, n_horizons = increment.shape
    ids = [f"v{i:04d}" for i in range(n)]
    events = events or [np.zeros(0)] * n
    observed = np.array([len(e) for e in events]) if observed is None else observed
    horizons = age + lead * np.arange(1, n_horizons + 1) / n_horizons
    total = np.log2(2**increment + observed[:, None])
    examples = pl.DataFrame(
        {
            "video_id": ids,
            "published_at": [START] * n,
            "observed_at": [START + timedelta(days=age)] * n,
            "age_days": np.full(n, age),
            "observed": observed,
            "horizon_days": [horizons.tolist()] * n,
            "increment": increment.tolist(),
            "total": total.tolist(),
        }
    )
    rows = [(ids[i], float(s)) for i, e in enumerate(events) for s in e]
    feedback = pl.DataFrame(
        {
            "video_id": [v for v, _ in rows],
            "time": [START + timedelta(days=s) for _, s in rows],
            "kind": ["view"] * len(rows),
            "count": [1] * len(rows),
            "age_days": [s for _, s in rows],
        },
        schema={
            "video_id": pl.String,
            "time": pl.Datetime("us", "UTC"),
            "kind": pl.String,
            "count": pl.Int64,
            "age_days": pl.Float64,
        },
    )
    videos = examples.select("video_id", "published_at")
    return Data(examples, videos, feedback, X_feedback, X_content, ["view"], "view")


@pytest.fixture(name="make")
def make_fixture() -> Callable[..., Data]:
    """`make`, for tests."""
    return make


@pytest.fixture
def linear() -> Callable[[int, int], Data]:
    """Increment linear in feedback column 0 and in content column 0, with no noise, H = 2."""

    def build(n: int, seed: int) -> Data:
        rng = np.random.default_rng(seed)
        F, C = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
        observed = rng.integers(0, 1000, n)
        y = 8 + 1.5 * F[:, 0] - 0.5 * F[:, 1]
        return make(np.column_stack([y, y + 1 + F[:, 2]]), F, C, observed)

    return build
