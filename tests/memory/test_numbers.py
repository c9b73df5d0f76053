"""Numbers as a modality: near where creator and category are alike, fitted on training only."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from m3tr.memory.keys import CLIP, KeyMaker
from m3tr.memory.numbers import NUMBERS, Numbers

START = datetime(2025, 1, 1, tzinfo=UTC)


def videos(n: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    followers = np.exp(rng.normal(8, 3, n)).astype(int)
    return pl.DataFrame(
        {
            "video_id": [f"v{i}" for i in range(n)],
            "published_at": [START + timedelta(hours=int(h)) for h in rng.integers(0, 999, n)],
            "title": ["x" * int(i) for i in rng.integers(0, 40, n)],
            "creator_followers": [None if i % 7 == 3 else f for i, f in enumerate(followers)],
            "category": rng.choice(["music", "news", "pets"], n),
        }
    ).with_columns(pl.col("published_at").dt.cast_time_unit("us"))


def test_columns_are_in_standard_deviations_of_training():
    table = videos(300)
    x = Numbers().fit(table).transform(table)
    spread = x.std(0)
    assert x.dtype == np.float32 and np.isfinite(x).all() and np.abs(x).max() <= CLIP
    assert np.allclose(x.mean(0), 0, atol=0.05)
    assert ((spread < 1e-6) | (np.abs(spread - 1) < 0.1)).all() and (spread > 0.5).sum() >= 6


def test_videos_of_like_creators_and_category_are_near():
    table = videos(200)
    near = table.head(1).with_columns(video_id=pl.lit("near"))
    far = near.with_columns(
        video_id=pl.lit("far"), creator_followers=pl.lit(10**9), category=pl.lit("unheard of")
    )
    numbers = Numbers().fit(table)
    x = numbers.transform(pl.concat([table, near, far], how="diagonal_relaxed"))
    maker = KeyMaker().fit(np.zeros((200, 2)), {NUMBERS: x[:200]})
    key = maker.keys(np.zeros((202, 2)), {NUMBERS: x}).content[NUMBERS]
    assert key[0] @ key[200] > 0.999 > 0.8 > key[0] @ key[201]


def test_other_videos_do_not_matter():
    table = videos(100)
    numbers = Numbers().fit(table)
    alone = numbers.transform(table.head(5))
    strangers = videos(50, seed=1).with_columns(creator_followers=pl.lit(10**12))
    together = numbers.transform(pl.concat([table.head(5), strangers], how="vertical_relaxed"))
    assert np.array_equal(together[:5], alone)


def test_a_table_without_the_columns_still_has_a_row():
    numbers = Numbers().fit(videos(60))
    x = numbers.transform(videos(4).select("video_id", "published_at"))
    assert x.shape == (4, len(numbers.mean)) and np.isfinite(x).all()


def test_it_survives_json():
    numbers = Numbers().fit(videos(80))
    again = Numbers.from_state(json.loads(json.dumps(numbers.state())))
    assert np.array_equal(again.transform(videos(9, seed=3)), numbers.transform(videos(9, seed=3)))
