"""The row of extremely randomised trees finds a step, reads content and feedback, and repeats."""

import numpy as np
import pytest

from m3tr.baselines.extra_trees import ExtraTrees


@pytest.fixture
def steps(make):
    def build(n: int, seed: int):
        rng = np.random.default_rng(seed)
        # each number several times: a split draws few of the columns
        F, C = (np.repeat(rng.normal(size=(n, 1)), 4, 1) for _ in range(2))
        return make(5 + 2.0 * (F[:, :1] > 0) + (C[:, :1] > 0), F, C)

    return build


def test_it_learns_steps_of_both_parts(steps):
    row = ExtraTrees().fit(steps(3000, 0), steps(5, 1), "increment")
    test = steps(200, 2)
    y = test.y("increment")
    # either part alone leaves a fifth of the variance or more
    assert np.mean((row.predict(test) - y) ** 2) < 0.15 * y.var()


def test_its_seed_decides(steps):
    train, test = steps(100, 0), steps(20, 1)
    one, same, other = (
        ExtraTrees(seed=seed).fit(train, train, "increment").predict(test) for seed in (3, 3, 4)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_threads_change_nothing(steps):
    train, test = steps(100, 0), steps(20, 1)
    one, two = (ExtraTrees(n).fit(train, train, "increment").predict(test) for n in (1, 2))
    assert np.array_equal(one, two)
