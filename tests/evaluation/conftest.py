"""Predictions of a few rows whose scores are known."""

import numpy as np
import polars as pl
import pytest

N = 60
NOISE = {"mean": None, "last count": 1.5, "ridge": 0.8, "M3TR": 0.4}


@pytest.fixture(scope="session")
def examples():
    """N videos seen for one day."""
    ids = [f"v{i:03d}" for i in range(N)]
    return pl.DataFrame({"video_id": ids, "age_days": np.ones(N)})


@pytest.fixture(scope="session")
def predictions(examples):
    """Two labels, two horizons; `mean` is the test mean; M3TR has intervals."""
    rng = np.random.default_rng(0)
    parts = []
    for label in ("increment", "total"):
        for horizon, days in ((0, 3.0), (1, 7.0)):
            y = rng.normal(8, 2, N)
            for row, noise in NOISE.items():
                y_hat = np.full(N, y.mean()) if noise is None else y + noise * rng.normal(size=N)
                bound = 0.8 if row == "M3TR" else None
                parts.append(
                    pl.DataFrame(
                        {
                            "row": [row] * N,
                            "information": ["CFR" if row == "M3TR" else "F"] * N,
                            "video_id": examples["video_id"],
                            "label": [label] * N,
                            "horizon": [horizon] * N,
                            "horizon_days": [days] * N,
                            "y": y,
                            "y_hat": y_hat,
                            "lo": y_hat - bound if bound else [None] * N,
                            "hi": y_hat + bound if bound else [None] * N,
                        },
                        schema_overrides={"lo": pl.Float64, "hi": pl.Float64},
                    )
                )
    return pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=1)
