"""Random banks and queries, and the search by its definition."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys, unit

START = np.datetime64("2025-01-01", "us")
DIMS = {"audio": 4, "text": 7}
YOUNGER = 0.25


def times(days: np.ndarray) -> np.ndarray:
    """Days after the start as datetime64[us]."""
    return START + (np.asarray(days, float) * 86_400e6).astype("timedelta64[us]")


def random_keys(rng: np.random.Generator, n: int) -> Keys:
    """Unit keys, some of them absent."""

    def part(width: int) -> np.ndarray:
        return unit(rng.normal(size=(n, width)) * (rng.random((n, 1)) < 0.8))

    return Keys(part(5), {m: part(d) for m, d in DIMS.items()}, {YOUNGER: part(5)})


def random_items(
    rng: np.random.Generator, n: int, n_days: int = 6, titles: int = 9
) -> pl.DataFrame:
    """Items in random order; days and titles repeat, so that there are ties and near-duplicates."""
    return pl.DataFrame(
        {
            "video_id": [f"b{i:03d}" for i in rng.permutation(n)],
            "known_at": times(rng.integers(0, n_days, n)),
            "title": [f"title {i}" for i in rng.integers(0, titles, n)],
        },
        schema={"video_id": pl.String, "known_at": pl.Datetime("us"), "title": pl.String},
    )


def random_bank(rng: np.random.Generator, n: int, n_days: int = 6, titles: int = 9) -> Bank:
    """A bank of random items and keys with one value, `increment`."""
    values = {"increment": rng.normal(size=(n, 2))}
    return Bank.build(random_items(rng, n, n_days, titles), random_keys(rng, n), values)


def similarity(bank: Bank, query: Keys, q: int, b: int, eta: float, weights: dict) -> float:
    """The score of one pair by its definition."""
    total = sum(weights.get(m, 1.0) for m in query.content if query.content[m][q].any())
    content = sum(
        weights.get(m, 1.0) * float(query.content[m][q].astype(float) @ bank.keys.content[m][b])
        for m in query.content
    )
    alike = float(query.trajectory[q].astype(float) @ bank.keys.trajectory[b])
    if 0 < eta < 1:  # a side that the query lacks gives its share to the other
        moved = query.trajectory[q].any()
        eta = 1.0 if moved and not total else 0.0 if total and not moved else eta
    return eta * alike + (1 - eta) * (content / total if total else 0.0)


def brute_force(
    bank: Bank,
    query: Keys,
    k: int,
    eta: float,
    known_by: np.ndarray | None = None,
    exclude: Sequence[np.ndarray] | None = None,
    weights: dict | None = None,
) -> list[list[tuple[float, int]]]:
    """The definition, item by item: (score, position) of the best k allowed, by query."""
    known_at = bank.items["known_at"].to_numpy()
    weights = dict.fromkeys(DIMS, 1.0) if weights is None else weights
    answer = []
    for q in range(len(query.trajectory)):
        left_out = set() if exclude is None else set(exclude[q].tolist())
        allowed = [
            (similarity(bank, query, q, b, eta, weights), b)
            for b in range(len(bank))
            if b not in left_out and (known_by is None or known_at[b] <= known_by[q])
        ]
        # among equals the later known, then the later in the bank
        allowed.sort(
            key=lambda pair: (-round(pair[0], 12), -known_at[pair[1]].astype(int), -pair[1])
        )
        answer.append(allowed[:k])
    return answer


@pytest.fixture
def make() -> SimpleNamespace:
    """The builders of this folder."""
    return SimpleNamespace(
        times=times, keys=random_keys, items=random_items, bank=random_bank, brute_force=brute_force
    )


@pytest.fixture
def agrees() -> Callable[..., None]:
    """`agrees(bank, query, k, eta, ...)`: the search is what the definition says."""

    def check(bank, query, k, eta, known_by=None, exclude=None, weights=None):
        found = bank.search(query, k, eta, weights, known_by, exclude)
        expected = brute_force(bank, query, k, eta, known_by, exclude, weights)
        for q, best in enumerate(expected):
            n = len(best)
            assert found.index[q, :n].tolist() == [b for _, b in best]
            assert np.allclose(found.score[q, :n], [s for s, _ in best], atol=1e-5)
            assert (found.score[q, n:] == 0).all() and (found.index[q, n:] == -1).all()
            for j, (_, b) in enumerate(best):
                assert found.trajectory[q, j] == pytest.approx(
                    float(query.trajectory[q] @ bank.keys.trajectory[b]), abs=1e-5
                )
            side = found.shares["trajectory"][q]
            mixed = side * found.trajectory[q] + (1 - side) * found.content[q]
            assert np.allclose(found.score[q], mixed, atol=1e-5)
        return found

    return check
