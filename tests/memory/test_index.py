"""Candidates of the approximate index, against the definition."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3tr.errors import InputError
from m3tr.memory.approximate import choice
from m3tr.memory.approximate.choice import Plan, n_lists
from m3tr.memory.approximate.effort import Efforts
from m3tr.memory.approximate.index import FEW, PAD, Index
from m3tr.memory.approximate.settings import IndexSettings
from m3tr.memory.approximate.train import gpus

N, D, K = 3000, 22, 10  # no multiple of what the codes need
KINDS = {
    "pq4": IndexSettings(kind="ivf", recall=0.9),
    "sq8": IndexSettings(kind="ivf", codes="sq8", recall=0.9),
    "bf16": IndexSettings(kind="ivf", codes="bf16", recall=0.9),
    "full": IndexSettings(kind="ivf", codes="full", recall=0.9),
    "hnsw": IndexSettings(kind="hnsw", recall=0.9),
    "hnsw sq8": IndexSettings(kind="hnsw", codes="sq8", recall=0.9),
}


def weights(eta: float) -> np.ndarray:
    return np.repeat([eta, 1 - eta], [8, D - 8]).astype(np.float32)


def keys(n: int, seed: int) -> np.ndarray:
    """Keys around some centres, two unit parts; one in ten lacks the second."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(40, D))
    x = centres[rng.integers(0, 40, n)] + 0.5 * rng.normal(size=(n, D))
    for part in (slice(0, 8), slice(8, D)):
        x[:, part] /= np.linalg.norm(x[:, part], axis=1, keepdims=True)
    x[rng.random(n) < 0.1, 8:] = 0
    return x.astype(np.float32)


ROWS, DRAWN = keys(N, 1), keys(300, 2)
TUNING, ASKED = DRAWN[:150], np.ascontiguousarray(DRAWN[150:] * weights(0.5))


def build(kind: str, n: int = N, like: Index | None = None, seed: int = 0) -> Index:
    return Index.build(
        lambda a, b: ROWS[a:b], n, KINDS[kind], TUNING, weights, like=like, seed=seed
    )


@pytest.fixture(scope="module")
def built() -> Callable[[str], Index]:
    """Each kind, built once."""
    held: dict[str, Index] = {}

    def get(kind: str) -> Index:
        if kind not in held:
            held[kind] = build(kind)
        return held[kind]

    return get


def best(
    limit: int, query: np.ndarray, k: int = K, exclude: np.ndarray | None = None
) -> np.ndarray:
    """The definition."""
    score = ROWS[:limit] @ query
    if exclude is not None:
        score[exclude[exclude < limit]] = -np.inf
    return np.argsort(-score, kind="stable")[: min(k, int(np.isfinite(score).sum()))]


def recall(index: Index, limit: int, eta: float = 0.5) -> float:
    asked = np.ascontiguousarray(DRAWN[150:] * weights(eta))
    found = index.candidates(
        asked, index.efforts.wanted(K, eta), np.full(len(asked), limit), eta=eta
    )
    return float(
        np.mean([np.isin(best(limit, q), row).mean() for q, row in zip(asked, found, strict=True)])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_wanted_is_reached_on_queries_that_did_not_tune_it(kind, built) -> None:
    index = built(kind)
    assert index.facts["recall"] >= 0.9
    assert recall(index, N) >= 0.87  # 150 queries: three standard errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0, 1, 9, 31, 32, 33, 250, 1500, N - 1, N, N + 5])
def test_a_limit_lets_only_earlier_rows_pass(kind, limit, built) -> None:
    index = built(kind)
    found = index.candidates(ASKED, 40, np.full(len(ASKED), limit))
    assert found.shape == (len(ASKED), 40)
    assert found.max(initial=-1) < max(limit, 1) and found.min() >= -1
    if limit == 0:
        assert (found == -1).all()
    else:
        assert (found >= 0).any()


@pytest.mark.parametrize("kind", ["pq4", "sq8", "hnsw"])
def test_a_prefix_is_searched_as_if_there_were_no_more(kind, built) -> None:
    index = built(kind)
    for limit in (200, 800, 2000):
        assert recall(index, limit) >= 0.85


def test_every_query_has_its_own_limit(built) -> None:
    index = built("pq4")
    limit = np.random.default_rng(0).integers(0, N, len(ASKED))
    together = index.candidates(ASKED, 20, limit)
    alone = [index.candidates(q[None], 20, at[None])[0] for q, at in zip(ASKED, limit, strict=True)]
    assert (together == np.stack(alone)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("many", [3, FEW + 1, 400])
def test_what_is_excluded_never_comes_and_its_place_is_filled(kind, many, built) -> None:
    index = built(kind)
    exclude = [best(N, q, many) for q in ASKED[:30]]
    found = index.candidates(ASKED[:30], 20, None, exclude)
    for row, out in zip(found, exclude, strict=True):
        assert not np.isin(row, out).any()
        # one that is surrounded by excluded rows may be left underfull, which the caller sees
        assert many > FEW or (row >= 0).sum() >= K
    if many <= FEW:  # those asked for in addition take no place
        effortless = index.candidates(ASKED[:30], 20 + many)
        for row, all_, out in zip(found, effortless, exclude, strict=True):
            rest = all_[(all_ >= 0) & ~np.isin(all_, out)][:20]
            assert np.isin(rest, row).mean() > 0.9


def test_excluded_rows_beyond_the_limit_and_repeated_ones_change_nothing(built) -> None:
    index, limit = built("pq4"), np.full(5, 900)
    odd = [np.array([4, 4, 1200, 2999, N + 7, -1])] * 5
    plain = index.candidates(ASKED[:5], 20, limit, [np.array([4])] * 5)
    assert (index.candidates(ASKED[:5], 20, limit, odd) == plain).all()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["pq4", "sq8", "hnsw"]),
    n=st.integers(1, 80),
    cases=st.lists(
        st.tuples(
            st.integers(0, N + 10),
            st.lists(st.integers(0, N - 1), max_size=90),
            st.integers(0, len(ASKED) - 1),
        ),
        min_size=1,
        max_size=6,
    ),
    eta=st.sampled_from([None, 0.0, 0.3, 1.0]),
)
def test_any_question_gets_permitted_distinct_rows(built, kind, n, cases, eta) -> None:
    index = built(kind)
    limit = np.array([at for at, _, _ in cases])
    exclude = [np.array(out, np.int64) for _, out, _ in cases]
    found = index.candidates(ASKED[[q for _, _, q in cases]], n, limit, exclude, eta)
    for row, at, out in zip(found, limit, exclude, strict=True):
        there = row[row >= 0]
        assert len(set(there)) == len(there)
        assert (there < at).all() and not np.isin(there, out).any()
        assert (row[len(there) :] == -1).all()  # what is missing comes last


def test_no_query_is_no_answer(built) -> None:
    assert built("pq4").candidates(ASKED[:0], 5).shape == (0, 5)


def test_underfull_is_fewer_than_there_could_be() -> None:
    rows = np.array([[1, 2, 3], [1, 2, -1], [1, 2, -1], [-1, -1, -1]])
    assert Index.underfull(rows, 3, np.array([9, 9, 2, 0])).tolist() == [False, True, False, False]


def test_few_rows_are_always_scanned(built) -> None:
    assert built("pq4").efforts.scan_first(np.array([0, 1, N // 2, N, N + 5])).all()


@pytest.mark.parametrize("kind", ["pq4", "sq8", "hnsw"])
def test_an_early_clock_is_scanned_and_a_late_one_is_not(kind, built, monkeypatch) -> None:
    index = built(kind)
    # as if a search cost less, which it does beside a scan of many rows
    for part, cost in (("QUERY", 300), ("CANDIDATE", 5), ("HOP", 3)):
        monkeypatch.setattr(choice, part, cost)
    monkeypatch.setattr(choice, "ROW", dict.fromkeys(choice.ROW, 0.1))
    scanned = index.efforts.scan_first(np.arange(N + 10))
    early = int(scanned.sum()) - 1
    assert scanned[: early + 1].all() and not scanned[early + 1 :].any()
    held = index.efforts.setting()
    assert early == int(index.plan.cost(N, held.effort, held.factor * K))
    assert 100 < early < N - 100


def test_what_no_effort_reaches_is_scanned(monkeypatch) -> None:
    """Long codes and few candidates: enough for trajectory and content together, not for one."""
    monkeypatch.setattr("m3tr.memory.approximate.recall.FACTORS", ((5, 10, 20),))
    monkeypatch.setattr(Efforts, "exact_below", lambda *_, **__: 0)
    plan = Plan("ivf", "pq4", 8, n_lists(N))
    least = IndexSettings(kind="ivf", recall=0.98, memory=plan.bytes(N, -(-D // PAD) * PAD))
    index = Index.build(lambda a, b: ROWS[a:b], N, least, TUNING, weights)
    assert index.plan == plan
    reached = {(s.eta, s.share): s.reached for s in index.efforts.table}
    assert reached[0.5, 1.0] and not reached[1.0, 1.0]
    at = np.array([1, N // 16, N // 4, N])
    for eta in (None, 0.5):
        assert not index.efforts.scan_first(at, eta).any()
    for eta in (0.0, 0.25, 0.75, 1.0):
        held = [reached[eta, 1 / 16], reached[eta, 1 / 16], reached[eta, 0.25], reached[eta, 1.0]]
        assert (~index.efforts.scan_first(at, eta)).tolist() == held
    assert index.efforts.scan_first(at[-1:], 0.9)[0]  # between two etas either counts


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_answers_the_same(kind, built, tmp_path: Path) -> None:
    index = built(kind)
    index.save(tmp_path / "index.faiss")
    loaded = Index.load(tmp_path / "index.faiss")
    limit = np.random.default_rng(0).integers(1, N, len(ASKED))
    assert (loaded.candidates(ASKED, 30, limit) == index.candidates(ASKED, 30, limit)).all()
    assert loaded.plan == index.plan
    assert (
        loaded.efforts.wanted(K) == index.efforts.wanted(K)
        and loaded.efforts.exact_below() == index.efforts.exact_below()
    )
    assert {p.name for p in tmp_path.iterdir()} == {
        "index.faiss",
        "index.faiss.json",
        "index.faiss.queries.npy",
    }
    again = build(kind, 2000, like=loaded)  # from a mapped one too
    assert (again.candidates(ASKED, 30) < 2000).all()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc to see mappings in")
@pytest.mark.parametrize("kind", ["full", "sq8", "hnsw"])
def test_all_but_product_codes_stay_in_the_file(kind, built, tmp_path: Path) -> None:
    built(kind).save(tmp_path / "index.faiss")
    loaded = Index.load(tmp_path / "index.faiss")
    assert str(tmp_path / "index.faiss") in Path("/proc/self/maps").read_text()
    assert loaded.n == N


@pytest.mark.parametrize("harm", ["no file", "no sign", "short", "other version", "no JSON"])
def test_a_broken_index_is_one_sentence(harm, built, tmp_path: Path) -> None:
    path, about = tmp_path / "index.faiss", tmp_path / "index.faiss.json"
    built("pq4").save(path)
    if harm == "no file":
        path.unlink()
    elif harm == "no sign":
        about.unlink()
    elif harm == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "other version":
        about.write_text(json.dumps(json.loads(about.read_text()) | {"schema": 99}))
    else:
        about.write_text("{")
    with pytest.raises(InputError, match="holds no whole index") as caught:
        Index.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["pq4", "hnsw"])
def test_the_same_seed_builds_the_same_index(kind, built, tmp_path: Path) -> None:
    built(kind).save(tmp_path / "a")
    build(kind).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    facts = [json.loads((tmp_path / f"{x}.json").read_text()) for x in "ab"]
    assert all(f.pop("build_seconds") for f in facts) and facts[0] == facts[1]


def test_another_seed_trains_other_lists(built, tmp_path: Path) -> None:
    built("pq4").save(tmp_path / "a")
    build("pq4", seed=5).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_like_index_is_filled_without_training(kind, built, monkeypatch) -> None:
    model = built(kind)

    def never(*_: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr("m3tr.memory.approximate.index.empty", never)
    filled = build(kind, like=model)
    assert (filled.candidates(ASKED, 30) == model.candidates(ASKED, 30)).all()
    half = build(kind, N // 2, like=model)
    assert half.n == N // 2 and half.facts["recall"] >= 0.9
    assert len(model.candidates(ASKED, 30)) and model.n == N  # it is left as it was


def test_rows_are_read_a_block_at_a_time(monkeypatch) -> None:
    asked = []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return ROWS[start:stop]

    for module in ("recall", "train"):
        monkeypatch.setattr(f"m3tr.memory.approximate.{module}.BLOCK", 256)
    Index.build(read, N, KINDS["pq4"], TUNING, weights)
    assert max(asked) <= 256


def test_an_interrupted_build_or_save_leaves_nothing(tmp_path: Path, built, monkeypatch) -> None:
    path = tmp_path / "index.faiss"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        built("pq4").save(path)
    monkeypatch.undo()
    with pytest.raises(InputError):
        Index.load(path)
    built("pq4").save(path)
    assert Index.load(path).n == N


def test_faiss_is_not_imported_with_the_module() -> None:
    code = "import sys, m3tr.memory.approximate.index; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not gpus(), reason="FAISS sees no GPU")
def test_a_gpu_fills_the_same_lists(built) -> None:
    found = build("pq4").candidates(ASKED, 40)
    assert np.mean([np.isin(best(N, q), f).mean() for q, f in zip(ASKED, found, strict=True)]) > 0.8
