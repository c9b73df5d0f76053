"""A bank whose segments have indexes: the contract holds as without, and appends keep them."""

import numpy as np
import polars as pl
import pytest

from m3tr.memory.approximate.settings import IndexSettings
from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys, unit

N, DAYS, K = 3_000, 60, 10
CENTRES = np.random.default_rng(9).normal(size=(30, 24))
KINDS = {
    "ivf": IndexSettings(kind="ivf", recall=0.9),
    "ivf sq8": IndexSettings(kind="ivf", codes="sq8", recall=0.9),
    "hnsw": IndexSettings(kind="hnsw", recall=0.9),
}


def clustered(rng: np.random.Generator, n: int) -> Keys:
    x = CENTRES[rng.integers(0, len(CENTRES), n)] + 0.6 * rng.normal(size=(n, 24))
    there = rng.random((n, 1)) < 0.9
    return Keys(
        unit(x[:, :8]),
        {"text": unit(x[:, 8:16] * there), "visual": unit(x[:, 16:])},
        {0.25: unit(x[:, :8])},
    )


@pytest.fixture(scope="module")
def flat() -> Bank:
    rng = np.random.default_rng(0)
    known_at = np.datetime64("2025-01-01", "us") + rng.integers(0, DAYS, N).astype("timedelta64[D]")
    items = pl.DataFrame(
        {
            "video_id": [f"v{i:05d}" for i in range(N)],
            "known_at": known_at,
            "title": [f"title {i}" for i in rng.integers(0, N // 3, N)],
        }
    )
    return Bank.build(items, clustered(rng, N), {"increment": rng.normal(size=(N, 2))})


@pytest.fixture(scope="module", params=list(KINDS))
def indexed(flat, request) -> Bank:
    return flat.indexed(KINDS[request.param], clustered(np.random.default_rng(1), 200))


def asked(rng: np.random.Generator, bank: Bank, n: int):
    """Queries: keys, clocks of all times, and what each is not shown."""
    days = rng.integers(-2, DAYS + 2, n).astype("timedelta64[D]")
    rows = bank.items[rng.integers(0, len(bank), n).tolist()]
    return clustered(rng, n), np.datetime64("2025-01-01", "us") + days, bank.alike(rows)


def recall(found, truth) -> float:
    pairs = zip(found.index, truth.index, strict=True)
    shares = [np.isin(b[b >= 0], a).mean() for a, b in pairs if (b >= 0).any()]
    return float(np.mean(shares))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_search_keeps_the_contract_and_finds_most(flat, indexed, eta):
    assert indexed.segments[0].index is not None and flat.segments[0].index is None
    rng = np.random.default_rng(2)
    queries, clocks, exclude = asked(rng, flat, 150)
    truth = flat.search(queries, K, eta, known_by=clocks, exclude=exclude)
    found = indexed.search(queries, K, eta, known_by=clocks, exclude=exclude)
    assert np.array_equal(found.found.sum(1), truth.found.sum(1))  # early in time too
    assert (found.found.sum(1) < K).any() and found.found.all(1).any()
    for q in range(150):
        own = found.index[q][found.found[q]]
        assert not np.isin(own, exclude[q]).any() and len(set(own)) == len(own)
        assert (flat.known_at(own) <= clocks[q]).all()
    assert recall(found, truth) > 0.85
    # approximate is who is looked at, never a score
    mixed = eta * found.trajectory + (1 - eta) * found.content
    assert np.allclose(found.score, mixed, atol=1e-5)
    assert (np.diff(found.score, axis=1)[found.found[:, 1:]] <= 0).all()


def test_many_excluded_leave_k(flat, indexed):
    """All but twelve of the permitted items are left out."""
    rng = np.random.default_rng(3)
    queries = clustered(rng, 3)
    kept = np.sort(rng.permutation(N)[:12])
    exclude = [np.setdiff1d(np.arange(N), kept)] * 3
    found = indexed.search(queries, K, exclude=exclude)
    assert found.found.all() and np.isin(found.index, kept).all()
    truth = flat.search(queries, K, exclude=exclude)
    assert np.array_equal(found.index, truth.index)


def test_younger_queries_are_answered_exactly(flat, indexed):
    rng = np.random.default_rng(4)
    queries = clustered(rng, 20)
    ages = np.full(20, 0.25)
    one = indexed.search(queries, K, 0.4, age=ages)
    assert np.array_equal(one.index, flat.search(queries, K, 0.4, age=ages).index)


def test_it_survives_its_folder_and_an_append_that_merges(flat, indexed, tmp_path):
    rng = np.random.default_rng(5)
    queries, clocks, exclude = asked(rng, flat, 60)
    indexed.save(tmp_path / "bank")
    opened = Bank.open(tmp_path / "bank")
    assert opened.segments[0].index.facts["kind"] == indexed.segments[0].index.facts["kind"]
    one, two = (b.search(queries, K, known_by=clocks, exclude=exclude) for b in (indexed, opened))
    assert np.array_equal(one.index, two.index) and np.array_equal(one.score, two.score)

    n = N // 2 + 10  # more than half of what is there: the two become one segment
    items = pl.DataFrame(
        {
            "video_id": [f"w{i:05d}" for i in range(n)],
            "known_at": np.full(n, np.datetime64("2025-06-01", "us")),
            "title": [f"other {i}" for i in range(n)],
        }
    )
    values = {"increment": np.zeros((n, 2))}
    keys = clustered(rng, n)
    grown = opened.append(items, keys, values)
    assert len(grown.segments) == 1 and grown.segments[0].index.n == N + n
    whole = flat.append(items, keys, values)
    late = np.full(60, np.datetime64("2025-07-01", "us"))
    found = grown.search(queries, K, known_by=late)
    truth = whole.search(queries, K, known_by=late)
    names = [b.items["video_id"].to_numpy()[f.index] for b, f in ((grown, found), (whole, truth))]
    assert np.mean([np.isin(b, a).mean() for a, b in zip(*names, strict=True)]) > 0.85
    # and who may only see what was known before the append sees none of it
    early = grown.search(queries, K, known_by=clocks, exclude=None)
    assert not np.char.startswith(
        grown.items["video_id"].to_numpy()[early.index[early.found]].astype(str), "w"
    ).any()


def test_a_small_segment_has_none(flat):
    assert flat.indexed(IndexSettings()).segments[0].index is None
