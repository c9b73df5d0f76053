"""Clauses 2, 4 and 5 in ten thousand random banks: who is shown, and that nobody is missing.

What is allowed is worked out here, item by item, from how the world was made; `violations` is asked
as well, which knows neither the search nor this file.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from m3tr.memory.bank import Bank
from m3tr.memory.contract import violations
from m3tr.memory.keys import Keys, unit

SHARDS, WORLDS = 10, 1_000
START = np.datetime64("2025-01-01", "us")
DAY = np.timedelta64(1, "D")
YOUNGER = 0.25
CREATORS = (None, "ann", "bob")
# each row is one title in several spellings
TITLES = (
    ("Tea!", "tea", "«TEA»"),
    ("à la carte", "À LA—CARTE"),
    ("ｎｏｏｎ", "noon"),
    ("猫 1", "猫-1"),
)
SCHEMA = {
    "video_id": pl.String,
    "known_at": pl.Datetime("us"),
    "title": pl.String,
    "creator_id": pl.String,
    "media": pl.String,
}


@dataclass(frozen=True)
class Video:
    """A video, and the names under which it can be the same as another."""

    row: tuple
    names: frozenset


def video(rng: np.random.Generator, name: str, media: int) -> Video:
    """A random video; title, creator and media repeat, or are absent."""
    creator = CREATORS[rng.integers(len(CREATORS))]
    spelling, title = None, int(rng.integers(-4, len(TITLES)))
    if title >= 0:
        spelling = TITLES[title][rng.integers(len(TITLES[title]))]
    path = f"m{rng.integers(media)}" if rng.random() < 0.4 else None
    known_at = START + int(rng.integers(0, 6)) * DAY
    names = {("id", name)}
    names |= {("text", creator or "", title)} if title >= 0 else set()
    names |= {("media", path)} if path else set()
    return Video((name, known_at, spelling or "", creator, path), frozenset(names))


def frame(videos: list[Video]) -> pl.DataFrame:
    rows = [(v.row[0], v.row[1].item(), *v.row[2:]) for v in videos]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def random_keys(rng: np.random.Generator, n: int) -> Keys:
    """Keys of few values, so that many are equal; some parts are absent."""

    def part(width: int) -> np.ndarray:
        return unit(rng.integers(-1, 2, (n, width)) * (rng.random((n, 1)) < 0.8))

    return Keys(part(3), {"text": part(2), "visual": part(2)}, {YOUNGER: part(3)})


def groups(videos: list[Video]) -> list[set[int]]:
    """Videos that share a name, closed transitively."""
    out: list[tuple[set[int], set]] = []
    for i, v in enumerate(videos):
        touched = [g for g in out if g[1] & v.names]
        out = [g for g in out if not g[1] & v.names]
        out.append(({i}.union(*(g[0] for g in touched)), v.names.union(*(g[1] for g in touched))))
    return [members for members, _ in out]


def world(rng: np.random.Generator) -> tuple[Bank, dict[str, Video], list[Video]]:
    """A bank, built or grown in batches of any order, its items, and videos that ask."""
    media, n = int(rng.integers(1, 12)), int(rng.integers(0, 16))
    videos = [video(rng, f"v{i:02d}", media) for i in range(n)]
    keys = random_keys(rng, n)
    # half of them at once: every append costs as much as the rest of a world
    cuts = np.sort(rng.integers(0, n + 1, rng.integers(1, 4) if rng.random() < 0.5 else 0))
    batches = np.split(rng.permutation(n), cuts)
    if len(batches) > 1 and n:  # some come a second time
        batches[-1] = np.unique(np.concatenate([batches[-1], rng.integers(0, n, 2)]))
    bank = None
    for rows in batches:
        own = frame([videos[i] for i in rows]), keys.select(rows), {"number": rows}
        bank = Bank.build(*own) if bank is None else bank.append(*own)
    # strangers, some of them copies by name, and items that ask for others
    asking = [video(rng, f"t{i}", media) for i in range(4)]
    asking += [videos[i] for i in rng.integers(0, n, 2)] if n else []
    return bank, {v.row[0]: v for v in videos}, asking


def check(seed: int) -> None:
    """One world: all that its queries are shown is allowed, and there is as much as can be."""
    rng = np.random.default_rng(seed)
    bank, by_id, asking = world(rng)
    items = [by_id[i] for i in bank.items["video_id"]]
    assert len(items) == len(by_id), seed
    k, eta = int(rng.integers(1, 20)), float(rng.choice([0, 0.25, 0.5, 1]))
    clock = START + rng.integers(-1, 7, len(asking)) * DAY
    age = np.where(rng.random(len(asking)) < 0.5, YOUNGER, np.nan) if seed % 3 == 0 else None
    causal = seed % 5 > 0
    queries = frame(asking)
    found = bank.search(
        random_keys(rng, len(asking)), k, eta, None, clock if causal else None,
        bank.alike(queries), age,
    )  # fmt: skip
    one = groups(items)
    for q, asked in enumerate(asking):
        alike = [g for g in one if any(items[i].names & asked.names for i in g)]
        left_out = set().union(*alike)
        late = {i for i, v in enumerate(items) if causal and v.row[1] > clock[q]}
        allowed = set(range(len(items))) - left_out - late
        shown = found.index[q][found.found[q]].tolist()
        assert len(shown) == len(set(shown)) == min(k, len(allowed)), seed
        assert set(shown) <= allowed, seed
        assert (np.diff(found.score[q, : len(shown)]) <= 0).all(), seed
    if seed % 16 == 0:
        queries = queries.with_columns(observed_at=pl.Series(clock))
        strangers = {v.row[0] for v in asking} - set(by_id)
        assert not any(violations(bank, queries, found, strangers, causal).values()), seed


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_ten_thousand_random_banks(shard):
    for seed in range(shard * WORLDS, (shard + 1) * WORLDS):
        check(seed)
