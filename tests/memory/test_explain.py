"""Explanations of a search: parts that add up, in order, with the outcomes that are stored."""

import numpy as np
import polars as pl
import pytest

from m3tr.memory.explain import parts

K = 5


@pytest.fixture
def searched(make):
    """A bank, the ids of its queries and what was found; some queries lack some parts."""
    rng = np.random.default_rng(4)
    bank, queries = make.bank(rng, 60), make.keys(rng, 12)
    return bank, [f"q{i}" for i in range(12)], queries


@pytest.mark.parametrize("weights", [None, {"text": 3.0, "audio": 0.0}, {"text": 2.0}])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_points_add_up_to_the_score(searched, eta, weights):
    bank, ids, queries = searched
    table = bank.explain(ids, bank.search(queries, K, eta, weights))
    named = parts(table)
    assert named == ["trajectory", "audio", "text"]
    points = table.select(pl.sum_horizontal(f"points.{p}" for p in named)).to_series()
    assert np.allclose(points, table["score"], atol=1e-5)
    for part in named:
        product = table[f"weight.{part}"] * table[f"cosine.{part}"]
        assert np.allclose(product, table[f"points.{part}"], atol=1e-12)
    content = [key.any(1) & ((weights or {}).get(m, 1.0) > 0) for m, key in queries.content.items()]
    both = dict(zip(ids, queries.trajectory.any(1) & np.any(content, axis=0), strict=True))
    own = table.filter(pl.col("video").replace_strict(both, return_dtype=pl.Boolean))
    assert own.height and (own["weight.trajectory"] == eta).all()
    # only the modalities that the query has, and that are not switched off, have weights
    for m in named[1:]:
        there = dict(zip(ids, queries.content[m].any(1), strict=True))
        for row in table.iter_rows(named=True):
            on = there[row["video"]] and (weights or {}).get(m, 1.0) > 0 and eta < 1
            assert (row[f"weight.{m}"] > 0) == on


def test_rows_are_the_neighbours_in_their_order(searched):
    bank, ids, queries = searched
    found = bank.search(queries, K)
    table = bank.explain(ids, found)
    assert table.height == K * len(ids)
    names = bank.items["video_id"].to_list()
    for i, video in enumerate(ids):
        own = table.filter(pl.col("video") == video)
        assert own["rank"].to_list() == [*range(1, K + 1)]
        assert own["video_id"].to_list() == [names[b] for b in found.index[i]]
        assert (own["score"].diff().drop_nulls() <= 1e-6).all()
        assert np.allclose(own["content"], found.content[i])
    kept = bank.items.select("video_id", "known_at", "title")
    assert table.select(kept.columns).equals(
        table.select("video_id").join(kept, on="video_id", how="left", maintain_order="left")
    )


def test_outcomes_are_those_stored_also_of_items_appended_later(searched, make):
    bank, ids, queries = searched
    rng = np.random.default_rng(9)
    more = make.items(rng, 30).with_columns(pl.col("video_id").str.replace("b", "c"))
    bank = bank.append(more, make.keys(rng, 30), {"increment": rng.normal(size=(30, 2))})
    table = bank.explain(ids, bank.search(queries, 20))
    place = {video: i for i, video in enumerate(bank.items["video_id"])}
    stored = bank.value("increment")[[place[video] for video in table["video_id"]]]
    assert np.array_equal(np.array(table["increment"].to_list()), stored)
    assert table["video_id"].str.starts_with("c").any()


def test_a_query_without_neighbours_has_no_rows(searched, make):
    bank, ids, queries = searched
    never = np.full(len(ids), make.times(np.array([-1.0]))[0])
    table = bank.explain(ids, bank.search(queries, K, known_by=never))
    assert table.is_empty() and "points.trajectory" in table.columns
    some = never.copy()
    some[3] = make.times(np.array([9.0]))[0]
    table = bank.explain(ids, bank.search(queries, K, known_by=some))
    assert table["video"].unique().to_list() == ["q3"] and table.height == K


def test_the_age_of_the_comparison_is_told(searched):
    bank, ids, queries = searched
    age = np.where(np.arange(len(ids)) % 2, 0.25, np.nan)
    found = bank.search(queries, K, age=age)
    assert np.array_equal(found.age, age, equal_nan=True)
    table = bank.explain(ids, found)
    points = table.select(pl.sum_horizontal(f"points.{p}" for p in parts(table))).to_series()
    assert np.allclose(points, table["score"], atol=1e-5)
