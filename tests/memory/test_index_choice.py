"""Which index is chosen, what it weighs, and how recall is counted."""

import os

import numpy as np
import pytest

from m3tr.errors import InputError
from m3tr.memory.approximate.choice import Plan, choose, n_lists
from m3tr.memory.approximate.index import Index
from m3tr.memory.approximate.recall import SPARE, K, Truth, exact, ladder, recall_of
from m3tr.memory.approximate.settings import IndexSettings


def test_few_items_need_no_index() -> None:
    settings = IndexSettings()
    assert choose(settings.exact_up_to, 256, settings).kind == "flat"
    assert choose(settings.exact_up_to + 1, 256, settings) == Plan("ivf", "pq4", 2, 512)


def test_short_memory_means_coarser_codes_then_a_sentence() -> None:
    roomy = choose(1_000_000, 256, IndexSettings())
    assert (roomy.dims, roomy.bytes(1_000_000, 256) / 1e6) == (2, pytest.approx(76.2, rel=0.02))
    coarse = choose(1_000_000, 256, IndexSettings(memory=60_000_000))
    assert coarse.dims == 4 and coarse.bytes(1_000_000, 256) <= 60_000_000
    with pytest.raises(InputError, match="allow at least"):
        choose(1_000_000, 256, IndexSettings(memory=1_000_000))


def test_the_least_memory_that_the_sentence_names_is_enough() -> None:
    with pytest.raises(InputError) as caught:
        choose(300_000, 64, IndexSettings(memory=10))
    least = int(str(caught.value).split("at least ")[1].split(",")[0])
    assert choose(300_000, 64, IndexSettings(memory=least)).bytes(300_000, 64) == least


def test_a_graph_has_no_product_codes() -> None:
    with pytest.raises(InputError, match="take kind ivf"):
        choose(500, 16, IndexSettings(kind="hnsw", codes="pq4"))


@pytest.mark.parametrize("n", [1, 38, 39, 200, 5000, 10**5, 10**6, 10**7])
def test_no_list_is_starved(n: int) -> None:
    assert 1 <= n_lists(n) <= max(n // 39, 1)


def test_a_settings_typo_is_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        IndexSettings(kinds="ivf")


@pytest.mark.parametrize("kind", ["pq4", "sq8", "full", "hnsw"])
def test_the_size_said_is_the_size_of_the_file(kind, tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 32)).astype(np.float32)
    codes = {"hnsw": "full"}.get(kind, kind)
    settings = IndexSettings(kind="hnsw" if kind == "hnsw" else "ivf", codes=codes, recall=0.5)
    weights = np.ones(32, np.float32)
    index = Index.build(lambda a, b: rows[a:b], 4000, settings, rows[:60] + 0.1, lambda _: weights)
    said = index.facts["bytes"]
    index.save(tmp_path / "i")
    assert os.path.getsize(tmp_path / "i") == pytest.approx(said, rel=0.15)


def test_the_ladder_ascends_to_every_list() -> None:
    rungs = ladder(Plan("ivf", "pq4", 2, 256))
    assert rungs == sorted(set(rungs)) and rungs[0] == 1 and rungs[-1] == 256


def test_exact_snapshots_are_those_of_the_prefixes(monkeypatch) -> None:
    monkeypatch.setattr("m3tr.memory.approximate.recall.BLOCK", 37)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 8)).astype(np.float32)
    queries = rng.normal(size=(9, 8)).astype(np.float32)
    limits = [5, 40, 333, 500]
    for limit, truth in zip(limits, exact(lambda a, b: rows[a:b], limits, queries), strict=True):
        n = min(limit, K + SPARE)
        right = np.argsort(-(queries @ rows[:limit].T), axis=1)[:, :n]
        assert (truth.rows[:, :n] == right).all() and (truth.rows[:, n:] == -1).all()


def test_recall_counts_an_equal_row_as_right_and_a_missing_one_as_wrong() -> None:
    rows = np.arange(K + SPARE)[None]
    scores = np.linspace(1, 0, K + SPARE, dtype=np.float32)[None].copy()
    scores[0, K] = scores[0, K - 1]  # a tie for the last place
    truth = Truth(rows, scores)
    assert recall_of(np.arange(K)[None], truth)[0] == 1
    assert recall_of(np.array([[*range(K - 1), K]]), truth)[0] == 1
    assert recall_of(np.array([[*range(K - 1), K + 1]]), truth)[0] == 0.9
    assert recall_of(np.full((1, K), -1), truth)[0] == 0


def test_recall_of_a_short_prefix_is_that_of_what_there_is() -> None:
    rows, scores = np.full((1, K + SPARE), -1), np.full((1, K + SPARE), -np.inf, np.float32)
    rows[0, :3], scores[0, :3] = [4, 2, 0], [3, 2, 1]
    assert recall_of(np.array([[0, 2, 4]]), Truth(rows, scores))[0] == 1
    assert recall_of(np.array([[0, 2, 3]]), Truth(rows, scores))[0] == pytest.approx(2 / 3)
