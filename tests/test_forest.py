"""A forest says what the library that grew it says, from plain arrays, also after a round trip."""

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.ensemble import ExtraTreesRegressor

from m3tr.forest import CHUNK, COLUMNS, LEAST_LEAF, Forest


def data(n, seed=0, horizons=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    step = np.where(X[:, 0] > 0, 2.0, -1.0)
    return X, np.column_stack([step + 0.1 * h * X[:, 1] for h in range(horizons)])


@pytest.mark.parametrize("horizons", [1, 3])
def test_it_is_the_librarys_forest(horizons):
    X, y = data(300, horizons=horizons)
    other = ExtraTreesRegressor(
        20, min_samples_leaf=LEAST_LEAF, max_features=COLUMNS, random_state=5
    ).fit(X, y.squeeze())
    new, _ = data(CHUNK + 7, seed=1)
    found = Forest().fit(X, y, 20, 5).predict(new)
    assert np.allclose(found, other.predict(new).reshape(len(new), horizons), atol=1e-5)


def test_arrays_are_all_it_needs():
    forest = Forest().fit(*data(100), 10, 0)
    kept = Forest.from_arrays(load(save(forest.arrays)))
    new, _ = data(50, seed=1)
    assert np.array_equal(kept.predict(new), forest.predict(new))


def test_it_learns_what_is_there():
    X, y = data(4000)
    new, truth = data(500, seed=1)
    error = np.mean((Forest().fit(X, y, 50, 0).predict(new) - truth) ** 2)
    assert error < 0.5 * truth.var(0).mean()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_videos_give_their_mean(n):
    X, y = data(n)
    assert np.allclose(Forest().fit(X, y, 5, 0).predict(X), y.mean(0), atol=1e-6)


def test_no_row_is_no_forecast():
    assert Forest().fit(*data(20), 5, 0).predict(np.zeros((0, 3))).shape == (0, 3)


def test_the_seed_decides():
    X, y = data(200)
    one, two, other = (Forest().fit(X, y, 5, seed).predict(X) for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
