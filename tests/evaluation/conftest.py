"""Predictions of a few rows whose scores are known, an explanation, and a judge of pages."""

import io
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from PIL import Image

N = 60
NOISE = {"mean": None, "last count": 1.5, "ridge": 0.8, "M3TR": 0.4}
HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x> $\\frac{"
VOID = {"meta", "br", "img", "link", "hr", "input"}
JPEG = "data:image/jpeg;base64,"


class Balance(HTMLParser):
    """Collects tags, and complains where they do not close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_alone(page):
    """Well formed, no script, and nothing of it comes from elsewhere."""
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    for tag, attributes in parser.seen:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        if tag == "img":
            assert attributes.pop("src").startswith(JPEG)
        for name in ("src", "srcset", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", page))


def make_explained(video="v1", title="", k=10, past=True, remembered=False, fitted=False):
    """An explanation with k neighbours; the first has a picture."""
    from m3tr.evaluation.explanation import Curve, Explanation

    ages = np.linspace(0, 4, 9).tolist()
    clock = datetime(2025, 1, 2, tzinfo=UTC)
    table = pl.DataFrame(
        {
            "video": [video] * k,
            "rank": range(1, k + 1),
            "video_id": [f"{video} near {i}" for i in range(k)],
            "title": [f"{title}{i}" if title else None for i in range(k)],
            "known_at": [clock] * k,
            "score": np.linspace(0.9, 0.1, k),
            "trajectory": [0.5] * k,
            "content": [0.25] * k,
            **{f"{what}.trajectory": [0.5] * k for what in ("cosine", "weight", "points")},
            **{f"{what}.text": [0.0] * k for what in ("cosine", "weight", "points")},
            "increment": [[3.0, 4.0 + i] for i in range(k)],
        }
    )
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "JPEG")
    own = ages if past else [age for age in ages if age <= 1]
    return Explanation(
        video_id=video,
        title=title,
        observed_at=clock,
        age_days=1.0,
        compared_days=1.0,
        leads=[1.0, 3.0],
        causal=True,
        remembered=remembered,
        fitted=fitted,
        curve=Curve(own, [2.0 * age for age in own], 1.0),
        outcome=[2.0, 3.0] if past else None,
        forecast=[2.5, 3.5],
        table=table,
        neighbours=[Curve(ages, [(i + 1) * age for age in ages], 1.0) for i in range(k)],
        frames={f"{video} near 0": [file.getvalue()] * 3},
    )


@pytest.fixture(scope="session")
def hostile():
    """Text that would do harm where it is not escaped."""
    return HOSTILE


@pytest.fixture(scope="session")
def stands_alone():
    """The judge of pages."""
    return check_alone


@pytest.fixture(scope="session")
def explained():
    """The builder of explanations."""
    return make_explained


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
                            "crps": abs(y - y_hat) if bound else [None] * N,
                        },
                        schema_overrides=dict.fromkeys(("lo", "hi", "crps"), pl.Float64),
                    )
                )
    return pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=1)
