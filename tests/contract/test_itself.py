"""Clause 4: no video retrieves itself or a near-duplicate row of itself."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from m3tr.features.store import Features


def late(tiny):
    """A clock at which every outcome of the bank is known."""
    return tiny.forecaster.bank.items["known_at"].max() + timedelta(days=1)


def neighbours(tiny, videos, features, eta=0.5):
    f = tiny.forecaster
    f = replace(f, bank=f.bank.with_weights(eta, f.bank.manifest.weights, {}))
    found = f.retrieve(f.queries(videos, tiny.feedback, late(tiny), features))
    return found, f.bank.items["video_id"].to_numpy()[found.index]


def test_a_bank_video_never_retrieves_itself(tiny_forecaster):
    videos = tiny_forecaster.part("train")
    found, ids = neighbours(tiny_forecaster, videos, tiny_forecaster.features)
    assert found.found.all()
    assert not (ids == videos["video_id"].to_numpy()[:, None]).any()
    # it would have been the best match, by content at the least
    f = tiny_forecaster.forecaster
    free = f.bank.search(f.bank.keys, 1, 0.0)
    present = np.stack([key.any(1) for key in f.bank.keys.content.values()]).all(0)
    assert present.sum() > 10
    assert np.allclose(free.score[present, 0], 1, atol=1e-5)


def renamed(tiny, videos, **changes):
    """The same videos under new ids, with their feedback and features."""
    new = videos.with_columns(video_id="copy of " + pl.col("video_id"), **changes)
    whole = tiny.features.select(videos["video_id"].to_list())
    return new, Features(new["video_id"].to_list(), whole.tokens, whole.mask)


@pytest.mark.parametrize("blind", [False, True])
def test_a_copy_under_another_id_does_not_retrieve_the_original(tiny_forecaster, blind):
    originals = tiny_forecaster.part("train").filter(pl.col("title").is_not_null())
    changes = {"title": "«" + pl.col("title").str.to_uppercase() + "»!!"}
    if blind:  # another creator: no near-duplicate by our definition, so the original may serve
        changes |= {"creator_id": pl.lit("somebody else"), "media": pl.lit(None, pl.String)}
    copies, features = renamed(tiny_forecaster, originals, **changes)
    found, ids = neighbours(tiny_forecaster, copies, features, eta=0.0)
    hit = (ids == originals["video_id"].to_numpy()[:, None]).any(1)
    assert found.found.all()  # the k are full either way
    assert hit.mean() > 0.9 if blind else not hit.any()


def test_copies_among_the_queries_do_no_harm(tiny_forecaster):
    """A copy beside its original: both are forecast, neither sees what the other may not."""
    originals = tiny_forecaster.part("train").filter(pl.col("title").is_not_null())[:10]
    copies, features = renamed(tiny_forecaster, originals)
    own = tiny_forecaster.features.select(originals["video_id"].to_list())
    both = Features.concat([own, features])
    found, ids = neighbours(tiny_forecaster, pl.concat([originals, copies]), both)
    assert not (ids[10:] == originals["video_id"].to_numpy()[:, None]).any()
    assert not (ids[:10] == originals["video_id"].to_numpy()[:, None]).any()


def test_one_medium_under_two_titles_is_one_video(tiny_forecaster, rebuilt):
    f = tiny_forecaster.forecaster
    originals = tiny_forecaster.part("train")[:12].with_columns(
        media="media/" + pl.col("video_id") + ".mp4"
    )
    items = f.bank.items.join(
        originals.select("video_id", "media"), on="video_id", how="left", maintain_order="left"
    )
    tiny = replace(
        tiny_forecaster,
        forecaster=replace(f, bank=rebuilt(f.bank, items=items)),
    )
    copies, features = renamed(tiny_forecaster, originals, title="new title " + pl.col("video_id"))
    found, ids = neighbours(tiny, copies, features)
    assert found.found.all()
    assert not (ids == originals["video_id"].to_numpy()[:, None]).any()
