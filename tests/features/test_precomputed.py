"""Vectors of the videos table: absent, refused or taken, and by the same rule as on import."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from m3tr.data.quarantine import clean_videos
from m3tr.features.precomputed import take


def table(vectors: list[list[float] | None]) -> pl.DataFrame:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    return pl.DataFrame(
        {
            "video_id": [str(i) for i in range(len(vectors))],
            "published_at": pl.Series([noon] * len(vectors), dtype=pl.Datetime("us", "UTC")),
            "emb_text": pl.Series(vectors, dtype=pl.List(pl.Float32)),
        }
    )


def test_an_empty_list_is_an_absent_vector_everywhere() -> None:
    # empty lists are the most frequent, and count for nothing
    videos = table([[], [], [], [1.0, 2.0], [3.0, 4.0], [5.0], None])
    given = take(videos, "text")
    assert given is not None and given.tokens.shape == (7, 1, 2)
    assert np.flatnonzero(given.mask).tolist() == [3, 4]
    assert [row for row, *_ in given.refused] == [5]
    good, refused = clean_videos(videos)
    assert refused.select("row", "reason").rows() == [(5, "embedding of another length")]
    assert good["emb_text"].to_list() == [None, None, None, [1.0, 2.0], [3.0, 4.0], None]


def test_a_column_of_empty_lists_leaves_the_modality_to_the_encoder() -> None:
    videos = table([[], None])
    assert take(videos, "text") is None
    assert clean_videos(videos)[1].is_empty()


def test_both_take_the_shorter_of_two_lengths_that_are_as_frequent() -> None:
    videos = table([[1.0, 2.0, 3.0], [1.0, 2.0]])
    given = take(videos, "text")
    assert given is not None and given.mask[:, 0].tolist() == [False, True]
    assert clean_videos(videos)[1]["row"].to_list() == [0]
