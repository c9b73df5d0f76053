"""Random banks and queries, and the search by its definition."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from m3tr.memory.bank import Bank, Keys, unit

START = np.datetime64("2025-01-01", "us")


def times(days: np.ndarray) -> np.ndarray:
    """Days after the start as datetime64[us]."""
    return START + (np.asarray(days, float) * 86_400e6).astype("timedelta64[us]")


def random_keys(rng: np.random.Generator, n: int, dims: tuple[int, int] = (5, 7)) -> Keys:
    """Unit keys, some of them absent."""
    parts = [unit(rng.normal(size=(n, d)) * (rng.random((n, 1)) < 0.8)) for d in dims]
    return Keys(*parts)


def random_bank(rng: np.random.Generator, n: int, n_days: int = 6, n_groups: int = 9) -> Bank:
    """Items in random order; days repeat, so that outcomes become known at the same moment."""
    day = rng.integers(0, n_days, n)
    ids = [f"b{i:03d}" for i in rng.permutation(n)]
    group = rng.integers(0, n_groups, n)
    items = pl.DataFrame(
        {"video_id": ids, "known_at": times(day), "group": group},
        schema={"video_id": pl.String, "known_at": pl.Datetime("us"), "group": pl.Int64},
    )
    return Bank.build(items, random_keys(rng, n), {"increment": rng.normal(size=(n, 2))})


def brute_force(
    bank: Bank,
    query: Keys,
    k: int,
    eta: float,
    known_by: np.ndarray | None = None,
    exclude: np.ndarray | None = None,
) -> list[list[tuple[float, int]]]:
    """The definition, item by item: (score, position) of the best k allowed, by query."""
    known_at, group = bank.items["known_at"].to_numpy(), bank.items["group"].to_numpy()
    answer = []
    for q in range(len(query.trajectory)):
        allowed = []
        for b in range(len(bank)):
            if known_by is not None and known_at[b] > known_by[q]:
                continue
            if exclude is not None and group[b] == exclude[q]:
                continue
            alike = float(query.trajectory[q].astype(float) @ bank.keys.trajectory[b])
            content = float(query.content[q].astype(float) @ bank.keys.content[b])
            allowed.append((eta * alike + (1 - eta) * content, b))
        answer.append(sorted(allowed, key=lambda pair: -pair[0])[:k])
    return answer


@pytest.fixture
def make() -> SimpleNamespace:
    """The builders of this folder."""
    return SimpleNamespace(times=times, keys=random_keys, bank=random_bank, brute_force=brute_force)


@pytest.fixture
def agrees() -> Callable[..., None]:
    """`agrees(bank, query, k, eta, known_by, exclude)`: the search is what the definition says."""

    def check(bank, query, k, eta, known_by=None, exclude=None):
        found = bank.search(query, k, eta, known_by=known_by, exclude=exclude)
        expected = brute_force(bank, query, k, eta, known_by, exclude)
        for q, best in enumerate(expected):
            n = len(best)
            assert found.found[q].sum() == n and found.found[q, :n].all()
            assert len(set(found.index[q, :n])) == n
            scores = np.array([s for s, _ in best])
            assert np.allclose(found.score[q, :n], scores, atol=1e-5)
            assert (found.score[q, n:] == 0).all() and (found.index[q, n:] == -1).all()
            every = dict((b, s) for s, b in brute_force(bank, query, len(bank), eta)[q])
            for place in range(n):
                item = found.index[q, place]
                # equal scores may come in any order: the item has the score of its place
                assert abs(every[item] - scores[place]) < 1e-5
                if np.sum(np.abs(np.array(list(every.values())) - scores[place]) < 1e-5) == 1:
                    assert item == best[place][1]
                joint = eta * found.trajectory[q, place] + (1 - eta) * found.content[q, place]
                assert abs(joint - found.score[q, place]) < 1e-5
                if known_by is not None:
                    assert bank.items["known_at"].to_numpy()[item] <= known_by[q]
                if exclude is not None:
                    assert bank.items["group"].to_numpy()[item] != exclude[q]
        return found

    return check
