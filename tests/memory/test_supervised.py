"""The supervised key finds what matters for the future, and nothing where nothing does."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from m3tr.memory.supervised import MIN_ROWS, SupervisedKey

SIZE, NOISE = 48, 0.5


def world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X_s, futures that follow one direction of it, and each row's score on that direction."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, SIZE))
    direction = np.random.default_rng(99).normal(size=SIZE)
    told = z @ direction / np.linalg.norm(direction)
    future = 5 + np.column_stack([told, 2 * told]) + NOISE * rng.normal(size=(n, 2))
    return z, future, told


def nearest_error(similarity: np.ndarray, known: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared error of the ten nearest items' mean future, in variances of the truth."""
    index = np.argsort(-similarity, axis=1, kind="stable")[:, :10]
    error = (known[index].mean(1) - truth) ** 2
    return float((error / truth.var(0)).mean())


def retrieval(key: SupervisedKey, z: np.ndarray, future: np.ndarray, n: int) -> float:
    rows = key.transform(z)
    return nearest_error(rows[n:] @ rows[:n].T, future[:n], future[n:])


def likelihood(z: np.ndarray, future: np.ndarray, n: int) -> float:
    rows = z / np.linalg.norm(z, axis=1, keepdims=True)
    return nearest_error(rows[n:] @ rows[:n].T, future[:n], future[n:])


N = 1200


@pytest.fixture(scope="module")
def fitted() -> SupervisedKey:
    z, future, _ = world(N + 300)
    return SupervisedKey().fit(z[:N], future[:N], np.arange(N), seed=1)


def test_it_finds_the_direction_that_the_likelihood_key_drowns_in_noise(fitted):
    z, future, told = world(N + 300)
    supervised = retrieval(fitted, z, future, N)
    blind = likelihood(z, future, N)
    oracle = nearest_error(-np.abs(told[N:, None] - told[:N]), future[:N], future[N:])
    assert blind > 0.5
    assert oracle < 0.2
    assert supervised < oracle + 0.15 * (blind - oracle)
    # its own figures say so too
    assert fitted.learned
    assert fitted.figures["likelihood"] == pytest.approx(blind, rel=0.2)
    assert fitted.figures["supervised"] == pytest.approx(supervised, rel=0.2)


def test_futures_without_a_cause_teach_nothing():
    z, future, _ = world(N + 300)
    shuffled = np.random.default_rng(5).permutation(future)
    key = SupervisedKey().fit(z[:N], shuffled[:N], np.arange(N), seed=1)
    assert retrieval(key, z, shuffled, N) > 0.97
    # on the rows it was fitted on either: a row does not find its own future
    rows = key.transform(z[:N])
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -9)
    assert nearest_error(similarity, shuffled[:N], shuffled[:N]) > 0.85


def test_no_group_teaches_itself():
    """Copies within a group have one future; nothing else explains it."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(60), 10)
    z = rng.normal(size=(60, SIZE))[group] + 0.01 * rng.normal(size=(600, SIZE))
    future = rng.normal(size=(60, 1))[group]
    key = SupervisedKey().fit(z, future, group, seed=0)
    for figure in key.figures.values():
        assert figure > 0.8  # not the copies' zero
    apart = SupervisedKey().fit(z, future, np.arange(600), seed=0)
    assert apart.figures["likelihood"] < 0.4


def test_the_key_of_a_row_is_a_function_of_that_row(fitted):
    z, _, _ = world(40, seed=8)
    together = fitted.transform(z)
    assert np.allclose(fitted.transform(z[3:4])[0], together[3], atol=1e-6)
    changed = z.copy()
    changed[5:] = 1e3
    assert np.allclose(fitted.transform(changed)[:5], together[:5], atol=1e-6)


def test_futures_of_other_rows_never_matter(fitted):
    """Held-out rows are absent: whatever becomes of them, the key is the same to the bit."""
    z, future, _ = world(N + 300)
    future[N:] = 1e6
    train = np.arange(N + 300) < N
    key = SupervisedKey().fit(z[train], future[train], np.arange(N + 300)[train], seed=1)
    assert key.arrays.keys() == fitted.arrays.keys()
    for name, array in key.arrays.items():
        assert np.array_equal(array, fitted.arrays[name])


def test_the_seed_decides(fitted):
    import torch

    z, future, _ = world(N)
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    other = SupervisedKey().fit(z, future, np.arange(N), seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not np.array_equal(other.arrays["weight.0"], fitted.arrays["weight.0"])


def test_units_of_the_futures_do_not_matter(fitted):
    z, future, _ = world(N + 300)
    key = SupervisedKey().fit(z[:N], 1024 * future[:N], np.arange(N), seed=1)
    assert np.allclose(key.transform(z), fitted.transform(z), atol=0.02)


def test_it_survives_a_file(fitted, tmp_path):
    save_file(fitted.arrays, tmp_path / "key.safetensors")
    again = SupervisedKey.from_arrays(load_file(tmp_path / "key.safetensors"))
    z, _, _ = world(30, seed=4)
    assert np.array_equal(again.transform(z), fitted.transform(z))


def test_keys_are_unit_float32_rows(fitted):
    z, _, _ = world(30, seed=4)
    z[0] = 0
    rows = fitted.transform(z)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def plain(z: np.ndarray) -> np.ndarray:
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("case", ["empty", "tiny", "flat future", "constant", "copies"])
def test_with_nothing_to_learn_it_is_the_likelihood_key(case, tmp_path, fitted):
    rng = np.random.default_rng(6)
    n = {"empty": 0, "tiny": 10}.get(case, 400)
    z, future = rng.normal(size=(n, SIZE)), rng.normal(size=(n, 2))
    if case == "flat future":
        future[:] = 3.0
    if case == "constant":
        z[:] = 0.0
    if case == "copies":  # the nearest videos have the very same future: nothing improves on that
        z, future = (np.repeat(each[:20], 20, axis=0) for each in (z, future))
    key = SupervisedKey().fit(z, future, np.arange(n), seed=0)
    query = rng.normal(size=(7, SIZE))
    query[0] = 0
    rows = key.transform(query)
    assert not key.learned
    assert np.allclose(rows @ rows.T, plain(query) @ plain(query).T, atol=1e-5)
    assert rows.shape == fitted.transform(query).shape
    save_file(key.arrays, tmp_path / "key.safetensors")
    again = SupervisedKey.from_arrays(load_file(tmp_path / "key.safetensors"))
    assert np.array_equal(again.transform(query), rows)


def test_constant_columns_and_one_flat_horizon_leave_all_finite():
    z, future, _ = world(300)
    z[:, :5] = 0
    future = np.column_stack([future, np.full(300, 2.0)])
    key = SupervisedKey().fit(z, future, np.zeros(300, int), seed=0)
    assert key.learned
    assert np.isfinite(key.transform(z)).all()
    assert all(np.isfinite(a).all() for a in key.arrays.values())
    assert all(np.isfinite(f) for f in key.figures.values())


@pytest.mark.parametrize("n", [MIN_ROWS, 513, 1025])
def test_a_batch_of_one_row_does_no_harm(n):
    z, future, _ = world(n)
    key = SupervisedKey().fit(z, future, np.arange(n) // 2, seed=0)
    assert np.isfinite(key.transform(z)).all()
