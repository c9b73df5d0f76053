"""Requests: an exact round trip, also through JSON, and one sentence per mistake."""

import io
import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from m3tr.errors import InputError
from m3tr.registry.payload import payload, tables


def as_http(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a scoring server would see it."""
    return pd.DataFrame(json.loads(json.dumps(frame.to_dict(orient="records"), allow_nan=False)))


def as_split(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(**json.loads(json.dumps(frame.to_dict(orient="split"), allow_nan=False)))


def as_parquet(frame: pd.DataFrame) -> pd.DataFrame:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return pd.read_parquet(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("way", [lambda f: f, as_http, as_split, as_parquet])
def test_round_trip_is_exact(small_tables, way):
    videos, feedback, examples = small_tables
    request = tables(way(payload(videos, feedback, examples)))
    expected = videos.with_columns(pl.col("creator_followers").cast(pl.Float64))
    assert_frame_equal(request.videos, expected)
    seen = feedback.join(examples.select("video_id", "observed_at"), on="video_id")
    seen = seen.filter(pl.col("time") <= pl.col("observed_at")).drop("observed_at")
    assert_frame_equal(request.feedback, seen)
    assert request.observed_at == [None] * 4 and request.features is None


def test_nothing_after_the_clock_is_sent(small_tables):
    videos, feedback, examples = small_tables
    frame = payload(videos, feedback, examples)
    earlier = feedback.filter(pl.col("count") != 99)
    assert earlier.height == feedback.height - 1
    assert frame["feedback"].equals(payload(videos, earlier, examples)["feedback"])
    assert json.loads(frame["feedback"][3]) == []


def test_order_and_clock_are_those_of_the_examples(small_tables):
    videos, feedback, examples = small_tables
    backwards = examples.reverse().head(2)
    request = tables(as_http(payload(videos, feedback, backwards, with_clock=True)))
    assert request.videos["video_id"].to_list() == ["v3", "v2"]
    assert request.observed_at == backwards["observed_at"].to_list()


def test_tokens_survive_with_their_mask(small_tables):
    store = pytest.importorskip("m3tr.features.store")
    videos, feedback, examples = small_tables
    rng = np.random.default_rng(0)
    mask = {"visual": np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]], bool)}
    mask["text"] = np.array([[0], [0], [1], [1]], bool)
    x = {m: rng.normal(size=(*k.shape, 5)).astype("f4") * k[..., None] for m, k in mask.items()}
    ids = ["v3", "v2", "v1", "v0"]
    features = store.Features(ids=ids, tokens=x, mask=mask)
    with_media = videos.with_columns(media=pl.lit("media/clip.mp4"))
    for way in (lambda f: f, as_http, as_split):
        request = tables(way(payload(with_media, feedback, examples, features=features)))
        # the table's path, not looked for: it only tells copies apart
        assert request.videos["media"].to_list() == ["media/clip.mp4"] * 4
        assert set(request.features.tokens) == set(mask)  # audio is absent
        assert (
            request.features is not None and request.features.ids == examples["video_id"].to_list()
        )
        for m in mask:
            np.testing.assert_array_equal(request.features.tokens[m], x[m][::-1])
            np.testing.assert_array_equal(request.features.mask[m], mask[m][::-1])


def test_features_of_which_nothing_is_present_are_still_features(small_tables):
    store = pytest.importorskip("m3tr.features.store")
    nothing = store.Features.empty(["v0", "v1", "v2", "v3"])
    request = tables(as_http(payload(*small_tables, features=nothing)))
    assert request.features is not None and request.features.tokens == {}


def test_plain_vectors_stay_in_the_table(small_tables):
    videos, feedback, examples = small_tables
    vectors = [[0.1, 0.2], None, [3.0, 4.0], None]
    videos = videos.with_columns(pl.Series("emb_text", vectors, pl.List(pl.Float32)))
    request = tables(as_http(payload(videos, feedback, examples)))
    assert request.features is None
    assert_frame_equal(request.videos.select("emb_text"), videos.select("emb_text"))


def test_times_may_be_written_in_several_ways():
    same = datetime(2024, 1, 31, 18, tzinfo=UTC)
    ways = [
        "2024-01-31T18:00:00Z",
        "2024-01-31 18:00:00",
        "2024-01-31T19:00:00+01:00",
        pd.Timestamp(same),
        np.datetime64("2024-01-31T18:00:00", "ns"),
        same,
    ]
    for way in ways:
        frame = pd.DataFrame({"video_id": ["a"], "published_at": [way], "observed_at": [way]})
        request = tables(frame)
        assert request.videos["published_at"].to_list() == [same], way
        assert request.observed_at == [same], way


def test_numbers_may_be_text_and_ids_whole_numbers(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    frame = pd.DataFrame(
        {
            "video_id": [7],
            "published_at": ["2024-01-31"],
            "duration_s": ["12.5"],
            "title": [5],
            "media": [str(clip)],
            "feedback": [[[0.5, "view", 3.0]]],
        }
    )
    request = tables(frame)
    row = request.videos.row(0, named=True)
    assert (row["video_id"], row["duration_s"], row["title"]) == ("7", 12.5, "5")
    assert row["media"] == str(clip)
    assert request.feedback["count"].to_list() == [3]


GOOD = {"video_id": "a", "published_at": "2024-01-31T18:00:00Z"}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"published_at": None}, r"Row 1 \(video b\): published_at is None; write an ISO 8601"),
        ({"published_at": "yesterday"}, "published_at is 'yesterday'"),
        ({"published_at": 1706724000}, "published_at is 1706724000"),
        ({"published_at": "0001-01-01"}, "between 1970 and 2200"),
        ({"video_id": None}, "Row 1: video_id is None"),
        ({"video_id": ""}, "Row 1: video_id is ''"),
        ({"video_id": "a"}, "Rows 0 and 1 are both video a"),
        ({"observed_at": "soon"}, "observed_at is 'soon'"),
        ({"feedback": "[["}, "feedback is no JSON"),
        ({"feedback": "3"}, "feedback is no list"),
        ({"feedback": '{"view": 3}'}, "feedback is no list"),
        ({"feedback": '[[1, "view"]]'}, r"feedback entry 0 is \[1, 'view'\]"),
        ({"feedback": '[[1, "view", 1], [-1, "view", 1]]'}, "entry 1 has the age -1"),
        ({"feedback": '[[NaN, "view", 1]]'}, "has the age nan"),
        ({"feedback": '[["1", "view", 1]]'}, "has the age '1'"),
        ({"feedback": "[[1, 2, 1]]"}, "has the kind 2"),
        ({"feedback": '[[1, "view", 0]]'}, "has the count 0"),
        ({"feedback": '[[1, "view", 1.5]]'}, "has the count 1.5"),
        ({"feedback": '[[1, "view", true]]'}, "has the count True"),
        ({"duration_s": "long"}, "duration_s is 'long'"),
        ({"creator_followers": [3]}, r"creator_followers is \[3\]"),
        ({"media": "nowhere.mp4"}, "no media file 'nowhere.mp4'"),
        ({"emb_text": [1.0, 2.0, 3.0]}, r"Row 1 \(video b\): emb_text must hold vectors of 2"),
        ({"emb_text": [1.0, "x"]}, "emb_text must hold vectors of 2"),
        ({"emb_text": "abc"}, "emb_text must hold vectors of 2"),
        ({"emb_visual": [[1.0, 2.0], [1.0]]}, "emb_visual must hold vectors of 2"),
    ],
)
def test_one_sentence_a_mistake(wrong, sentence):
    first = {**GOOD, **({"emb_text": [0.0, 1.0]} if "emb_text" in wrong else {})}
    frame = pd.DataFrame([first, {**GOOD, "video_id": "b", **wrong}])
    with pytest.raises(InputError, match=sentence) as caught:
        tables(frame)
    assert "\n" not in str(caught.value)


def test_an_empty_or_headless_request_is_refused():
    with pytest.raises(InputError, match="no rows"):
        tables(pd.DataFrame(columns=["video_id", "published_at"]))
    with pytest.raises(InputError, match="lacks the column published_at"):
        tables(pd.DataFrame({"video_id": ["a"]}))
    with pytest.raises(InputError, match="lacks the column video_id"):
        tables(pd.DataFrame({"published_at": ["2024-01-31"]}))


def test_an_example_without_its_video_is_refused(small_tables):
    videos, feedback, examples = small_tables
    with pytest.raises(InputError, match="lacks video v3"):
        payload(videos.head(3), feedback, examples)
