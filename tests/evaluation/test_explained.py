"""The page and the table of one explanation, and how it comes from a forecaster."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m3tr.evaluation.explained import lines, notes, records, write_page
from m3tr.evaluation.explanation import explain
from m3tr.model.remember import matured


def page_of(each, tmp_path):
    write_page(tmp_path / "a" / "page.html", each)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["page.html"]
    return (tmp_path / "a" / "page.html").read_text()


def test_the_page_stands_alone_and_names_every_neighbour(explained, stands_alone, tmp_path):
    page = page_of(explained("v1", "dinner "), tmp_path)
    stands_alone(page)
    for i in range(10):
        assert f"v1 near {i}" in page and f"dinner {i}" in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.count("<svg") == 1 and "4 to 10" in page


def test_hostile_titles_and_ids_are_text(explained, stands_alone, hostile, tmp_path):
    page = page_of(explained(hostile, hostile), tmp_path)
    stands_alone(page)
    assert "<script>" not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize("k", [1, 3, 4, 10, 40])
def test_any_number_of_neighbours_can_be_drawn(explained, stands_alone, tmp_path, k):
    page = page_of(explained(k=k), tmp_path)
    stands_alone(page)
    assert f"v1 near {k - 1}" in page


def test_a_later_life_is_shown_only_of_a_past_video(explained, tmp_path):
    past, running = (page_of(explained(past=p), tmp_path) for p in (True, False))
    assert "Its own later life" in past and "not known to the forecast" in past
    assert "Its own later life" not in running
    assert "own later life is not over" in running


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
def test_each_note_stands_for_itself(explained, past, remembered, fitted):
    told = " ".join(notes(explained(past=past, remembered=remembered, fitted=fitted)))
    assert ("later life is not over" in told) != past
    assert ("is itself an item of the bank" in told) == remembered
    assert ("took part in the fit" in told) == fitted


def test_only_training_videos_took_part_in_the_fit(tiny_forecaster):
    """One that was appended is in the bank and was in no fit."""
    t = tiny_forecaster
    f = t.forecaster
    new = matured(f, t.part("validation"), t.feedback, t.features, held_out=True)
    larger = replace(f, bank=replace(f.bank, folder=None).append(*new))
    for split, inside, trained in (
        ("train", True, True),
        ("validation", True, False),
        ("test", False, False),
    ):
        queries = larger.queries(t.part(split)[-3:], t.feedback, features=t.features)
        told = explain(larger, queries, larger.retrieve(queries), t.videos, t.feedback)
        assert [(each.remembered, each.fitted) for each in told] == [(inside, trained)] * 3


def test_the_terminal_has_a_row_a_neighbour_and_columns_that_align(explained):
    told = lines(explained("v1", "dinner\nfor two " * 5).table, [1.0, 3.0]).split("\n")
    assert len(told) == 12
    assert told[0].split() == [
        "#", "neighbour", "title", "known", "at", "score", "trajectory", "text", "content",
        "+1d", "+3d",
    ]  # fmt: skip
    assert len({len(row) for row in (told[0], *told[2:])}) == 1
    assert "x0.500" in told[1]
    json.dumps(records(explained().table), allow_nan=False)


@pytest.fixture(scope="module")
def some(tiny_forecaster):
    """Explanations of test videos of the tiny world, without media."""
    t = tiny_forecaster
    queries = t.forecaster.queries(t.part("test")[:5], t.feedback, features=t.features)
    found = t.forecaster.retrieve(queries)
    return queries, found, explain(t.forecaster, queries, found, t.videos, t.feedback)


def test_curves_are_the_counts_of_the_tables(tiny_forecaster, some):
    t = tiny_forecaster
    queries, found, told = some
    truth = t.examples.select("video_id", "observed", "increment", "total")
    for i, each in enumerate(told):
        row = truth.row(by_predicate=pl.col("video_id") == each.video_id, named=True)
        at = dict(zip(each.curve.ages, each.curve.counts, strict=True))
        assert at[1.0] == row["observed"]
        assert np.log2(1 + at[4.0]) == pytest.approx(row["total"][-1])
        assert np.allclose(each.outcome, row["increment"])
        assert len(each.neighbours) == each.table.height == found.found[i].sum()
        for near, curve in zip(each.table.iter_rows(named=True), each.neighbours, strict=True):
            own = truth.row(by_predicate=pl.col("video_id") == near["video_id"], named=True)
            at = dict(zip(curve.ages, curve.counts, strict=True))
            assert curve.seen == 1.0 and at[1.0] == own["observed"]
            assert np.log2(1 + at[4.0]) == pytest.approx(own["total"][-1])
            assert near["increment"] == own["increment"]
            assert near["known_at"] <= each.observed_at
    forecast = t.forecaster.forecast(queries, found)
    assert np.allclose([each.forecast for each in told], forecast)


def test_a_life_that_is_not_over_ends_at_the_clock(tiny_forecaster, some):
    t, (queries, found, _) = tiny_forecaster, some
    clocks = queries.examples["observed_at"]
    cut = t.feedback.filter(pl.col("time") <= clocks.max())
    told = explain(t.forecaster, queries, found, t.videos, cut)
    over = queries.examples["known_at"] <= cut["time"].max()
    assert not over.all()
    for each, past in zip(told, over, strict=True):
        assert (each.outcome is not None) == past
        assert each.curve.ages[-1] == (4.0 if past else 1.0)


def test_an_item_of_no_table_is_drawn_as_it_is_remembered(tiny_forecaster, some):
    t, (queries, found, before) = tiny_forecaster, some
    ids = queries.examples["video_id"]
    told = explain(
        t.forecaster, queries, found, t.videos.filter(pl.col("video_id").is_in(ids.implode())),
        t.feedback,
    )  # fmt: skip
    for a, b in zip(before, told, strict=True):
        for there, here in zip(a.neighbours, b.neighbours, strict=True):
            assert here.counts[-1] == pytest.approx(there.counts[-1], rel=1e-4)
            assert here.seen == there.seen


def test_pictures_come_from_media_and_a_broken_file_is_no_error(tiny_forecaster, some, tmp_path):
    from PIL import Image

    t, (queries, found, _) = tiny_forecaster, some
    everyone = t.videos.with_columns(media=pl.col("video_id") + ".png")
    for i, name in enumerate(everyone["media"]):
        if i % 3 == 0:
            Image.new("RGB", (40, 30), "green").save(tmp_path / name)
        elif i % 3 == 1:
            (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    told = explain(t.forecaster, queries, found, everyone, t.feedback, tmp_path, pictured=2)
    good = set(everyone["video_id"].gather_every(3))
    for each in told:
        shown = [each.video_id, *each.table["video_id"].to_list()[:2]]
        assert set(each.frames) == good.intersection(shown)
        assert all(p.startswith(b"\xff\xd8") for strip in each.frames.values() for p in strip)
    assert any(each.frames for each in told)


def test_it_is_said_at_what_age_trajectories_were_compared(explained):
    each = explained()
    assert not any("compared" in told for told in notes(each))
    younger = replace(each, age_days=1.4)
    assert "compared as they were at an age of 1 d." in " ".join(notes(younger))
    alone = replace(each, table=each.table.with_columns(pl.lit(0.0).alias("weight.trajectory")))
    assert "Its trajectory is not compared." in notes(alone)
