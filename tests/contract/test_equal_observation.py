"""Clause 3: the bank's keys come from what had been seen of an item at its own observation age."""

import numpy as np
import polars as pl

from m3tr.data.windows import make_examples
from m3tr.memory.keys import Keys


def test_the_later_life_of_bank_videos_is_not_in_their_keys(
    tiny_forecaster, tiny_queries, after_clocks
):
    f, queries = tiny_forecaster.forecaster, tiny_queries["train"]
    again = f.queries(tiny_forecaster.part("train"), after_clocks(), None, tiny_forecaster.features)
    assert np.array_equal(again.x_s, queries.x_s)
    keys = f.key_maker.keys(again.x_s, f.compared(again))
    place = {video: i for i, video in enumerate(again.examples["video_id"])}
    order = [place[video] for video in f.bank.items["video_id"]]
    stored: Keys = f.bank.keys
    assert np.array_equal(keys.trajectory[order], stored.trajectory)
    for m, key in keys.content.items():
        assert np.array_equal(key[order], stored.content[m])
    assert np.array_equal(again.x_s[order], f.bank.values["x_s"])


def test_their_labels_do_know_it(tiny_forecaster, after_clocks):
    """The rewriting above is not an idle one."""
    task = tiny_forecaster.task.model_copy(
        update={"observed_until": tiny_forecaster.feedback["time"].max()}
    )
    videos = tiny_forecaster.videos
    one, _ = make_examples(videos, tiny_forecaster.feedback, task)
    two, _ = make_examples(videos, after_clocks(), task)
    early = ["video_id", "observed_at", "known_at", "split", "n_events", "observed"]
    assert two.select(early).equals(one.select(early))
    changed = (one["increment"] != two["increment"]).mean()
    assert changed > 0.9


def test_a_twin_has_the_key_of_its_twin(tiny_forecaster):
    """Two videos seen alike up to the clock have one trajectory key, whatever came later."""
    f, video = tiny_forecaster.forecaster, tiny_forecaster.part("train")[20:21]
    rows = tiny_forecaster.feedback.filter(pl.col("video_id") == video["video_id"][0])
    young = rows.filter(
        pl.col("time") <= video["published_at"][0] + tiny_forecaster.task.observe.age
    )
    assert 0 < young.height < rows.height
    one, two = (f.queries(video, t, None, tiny_forecaster.features) for t in (rows, young))
    assert np.array_equal(one.x_s, two.x_s)


def test_a_query_of_another_age_has_another_key(tiny_forecaster, tiny_queries):
    """A query is compared as it is seen on its own clock, not as it was at the task's age."""
    f, videos = tiny_forecaster.forecaster, tiny_forecaster.part("test")
    clock = videos["published_at"].max()
    moved = f.queries(videos, tiny_forecaster.feedback, clock, tiny_forecaster.features)
    assert not np.allclose(moved.x_s, tiny_queries["test"].x_s)
    assert (moved.observed["time"] <= clock).all()
