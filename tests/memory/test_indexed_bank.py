"""A bank whose segments have indexes: the contract holds as without, and appends keep them.

At this size a scan costs less than any index, so most tests ask the index whatever that costs.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest

from m3tr.memory.approximate.effort import Efforts
from m3tr.memory.approximate.index import FEW, Index
from m3tr.memory.approximate.settings import IndexSettings
from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys, unit

N, DAYS, K = 3_000, 60, 10
START = np.datetime64("2025-01-01", "us")
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
    items = pl.DataFrame(
        {
            "video_id": [f"v{i:05d}" for i in range(N)],
            "known_at": START + rng.integers(0, DAYS, N).astype("timedelta64[D]"),
            "title": [f"title {i}" for i in rng.integers(0, N // 3, N)],
        }
    )
    return Bank.build(items, clustered(rng, N), {"increment": rng.normal(size=(N, 2))})


@pytest.fixture(scope="module", params=list(KINDS))
def indexed(flat, request) -> Bank:
    bank = flat.indexed(KINDS[request.param], clustered(np.random.default_rng(1), 200))
    assert bank.segments[0].index is not None and flat.segments[0].index is None
    return bank


@dataclass
class Asked:
    """What the indexes answered, call by call, since the last look."""

    answers: list[np.ndarray] = field(default_factory=list)

    def queries(self) -> int:
        """How many queries got candidates; the count starts anew."""
        got = sum(int((rows >= 0).any(1).sum()) for rows in self.answers)
        self.answers.clear()
        return got


@pytest.fixture
def index_asked(monkeypatch) -> Asked:
    """No scan counts as cheaper than an index; what the indexes answer is written down."""
    told, own = Asked(), Index.candidates

    def candidates(self, *args, **kwargs):
        told.answers.append(own(self, *args, **kwargs))
        return told.answers[-1]

    monkeypatch.setattr(Efforts, "exact_below", lambda self, *args, **kwargs: 0)
    monkeypatch.setattr(Index, "candidates", candidates)
    return told


def asked(rng: np.random.Generator, bank: Bank, n: int):
    """Items that ask for others: keys, clocks of all times, and what each is not shown."""
    rows = rng.integers(0, len(bank), n)
    days = rng.integers(-2, DAYS + 2, n).astype("timedelta64[D]")
    return bank.keys.select(rows), START + days, bank.alike(bank.items[rows.tolist()])


def recall(found, truth) -> float:
    pairs = zip(found.index, truth.index, strict=True)
    shares = [np.isin(b[b >= 0], a).mean() for a, b in pairs if (b >= 0).any()]
    return float(np.mean(shares))


def right_scores(bank: Bank, found, queries: Keys, eta: float) -> bool:
    """Approximate is who is looked at, never a score, nor the order of those found."""
    row, place = np.nonzero(found.found)
    item, keys = found.index[row, place], bank.keys
    total = np.sum([queries.content[m].any(1) for m in queries.content], axis=0)[row]
    content = sum((queries.content[m][row] * keys.content[m][item]).sum(1) for m in keys.content)
    trajectory = (queries.trajectory[row] * keys.trajectory[item]).sum(1)
    right = eta * trajectory + (1 - eta) * content / np.maximum(total, 1)
    sinking = (np.diff(found.score, axis=1)[found.found[:, 1:]] <= 0).all()
    return bool(sinking) and np.allclose(found.score[row, place], right, atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_search_keeps_the_contract_and_finds_most(flat, indexed, index_asked, eta):
    queries, clocks, exclude = asked(np.random.default_rng(2), flat, 150)
    truth = flat.search(queries, K, eta, known_by=clocks, exclude=exclude)
    found = indexed.search(queries, K, eta, known_by=clocks, exclude=exclude)
    assert index_asked.queries() > 120
    assert np.array_equal(found.found.sum(1), truth.found.sum(1))  # early in time too
    assert (found.found.sum(1) < K).any() and found.found.all(1).any()
    for q in range(150):
        own = found.index[q][found.found[q]]
        assert not np.isin(own, exclude[q]).any() and len(set(own)) == len(own)
        assert (flat.known_at(own) <= clocks[q]).all()
    assert recall(found, truth) > 0.85
    assert right_scores(flat, found, queries, eta)
    # without what it is not shown an item would have found itself
    free = indexed.search(queries, K, eta)
    assert index_asked.queries() == 150
    assert np.mean([np.isin(free.index[q], exclude[q]).any() for q in range(150)]) > 0.9


@pytest.mark.parametrize("many", [FEW // 2, 2 * FEW])
def test_the_best_are_excluded_and_the_next_ones_come(flat, indexed, index_asked, many):
    """Few that are excluded are asked for in addition, more are told to FAISS."""
    rng = np.random.default_rng(6)
    queries = clustered(rng, 40)
    best = flat.search(queries, K).index
    exclude = [np.union1d(rows, rng.permutation(N)[: many - K]) for rows in best]
    assert all((len(rows) > FEW) == (many > FEW) for rows in exclude)
    found = indexed.search(queries, K, exclude=exclude)
    assert index_asked.queries() == 40 and found.found.all()
    assert not any(np.isin(f, e).any() for f, e in zip(found.index, exclude, strict=True))
    assert recall(found, flat.search(queries, K, exclude=exclude)) > 0.8


def test_many_excluded_leave_k(flat, indexed, index_asked):
    """All but twelve of the permitted items are left out; an index that finds fewer is not all."""
    rng = np.random.default_rng(3)
    queries = clustered(rng, 20)
    kept = np.sort(rng.permutation(N)[:12])
    exclude = [np.setdiff1d(np.arange(N), kept)] * 20
    found = indexed.search(queries, K, exclude=exclude)
    (answer,) = index_asked.answers
    short = (answer >= 0).sum(1) < K
    assert short.any() or indexed.segments[0].index.plan.kind == "hnsw"
    assert found.found.all() and np.isin(found.index, kept).all()
    truth = flat.search(queries, K, exclude=exclude)
    assert np.array_equal(found.index[short], truth.index[short])


def test_younger_queries_are_answered_exactly(flat, indexed, index_asked):
    rng = np.random.default_rng(4)
    queries = clustered(rng, 20)
    ages = np.full(20, 0.25)
    one = indexed.search(queries, K, 0.4, age=ages)
    assert np.array_equal(one.index, flat.search(queries, K, 0.4, age=ages).index)
    assert not index_asked.answers  # it holds no trajectories of that age


def test_a_scan_answers_what_it_answers_sooner(flat, indexed):
    """As it is at this size: nothing is left to chance."""
    queries, clocks, exclude = asked(np.random.default_rng(8), flat, 40)
    one, two = (b.search(queries, K, known_by=clocks, exclude=exclude) for b in (flat, indexed))
    assert np.array_equal(one.index, two.index) and np.array_equal(one.score, two.score)


def test_it_survives_its_folder_and_an_append_that_merges(flat, indexed, index_asked, tmp_path):
    rng = np.random.default_rng(5)
    queries, clocks, exclude = asked(rng, flat, 60)
    indexed.save(tmp_path / "bank")
    opened = Bank.open(tmp_path / "bank")
    assert opened.segments[0].index.facts["kind"] == indexed.segments[0].index.facts["kind"]
    one, two = (b.search(queries, K, known_by=clocks, exclude=exclude) for b in (indexed, opened))
    assert len(index_asked.answers) == 2 and index_asked.queries() > 100
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
    assert index_asked.queries() == 60
    truth = whole.search(queries, K, known_by=late)
    names = [b.items["video_id"].to_numpy()[f.index] for b, f in ((grown, found), (whole, truth))]
    assert np.mean([np.isin(b, a).mean() for a, b in zip(*names, strict=True)]) > 0.85
    assert np.char.startswith(names[0].astype(str), "w").any()
    # and who may only see what was known before the append sees none of it
    early = grown.search(queries, K, known_by=clocks, exclude=None)
    assert index_asked.queries() > 50
    assert not np.char.startswith(
        grown.items["video_id"].to_numpy()[early.index[early.found]].astype(str), "w"
    ).any()


def test_a_small_segment_has_none(flat):
    assert flat.indexed(IndexSettings()).segments[0].index is None
