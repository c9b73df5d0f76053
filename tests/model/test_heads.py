"""Boosted heads: what they read is chosen on validation, and kept."""

import numpy as np
import pytest

from m3tr.model.heads import BoostedHead, Rows

EVERY = np.arange(6)


def rows(n, seed, noise=0.1):
    """Column 0 tells the outcome, the others nothing."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    y = np.column_stack([X[:, 0] > 0, X[:, 0] > 0.5]) + noise * rng.normal(size=(n, 2))
    return Rows(X, y, np.ones(n))


def fit(own, columns, validation=None):
    choices = [(each, read) for each in own for read in columns]
    return BoostedHead.fit(choices, validation or rows(150, 1), 1, 2, 0)


def test_inputs_that_tell_are_preferred():
    blind, telling = np.arange(1, 6), np.array([0, 3])
    head = fit([rows(300, 0)], [blind, telling])
    assert np.array_equal(head.columns, telling)
    other = rows(200, 2)
    assert ((head.predict(other.X) - other.y) ** 2).mean() < 0.1 * other.y.var()


def test_rows_that_mislead_are_left_out_and_rows_that_help_are_taken():
    few, more = rows(40, 0, noise=0.5), rows(600, 3)
    wrong = more._replace(y=-3 * more.y)
    test = rows(300, 4)

    def error(added):
        both = Rows(*(np.concatenate(pair) for pair in zip(few, added, strict=True)))
        head = fit([few, both], [EVERY])
        return ((head.predict(test.X) - test.y) ** 2).mean()

    alone = ((fit([few], [EVERY]).predict(test.X) - test.y) ** 2).mean()
    assert error(more) < 0.5 * alone
    assert error(wrong) == pytest.approx(alone)


def test_saved_and_loaded_it_reads_and_says_the_same(tmp_path):
    head = fit([rows(300, 0)], [np.array([5, 0])])
    head.save(tmp_path, "one")
    loaded = BoostedHead.load(tmp_path, "one", 2)
    X = rows(30, 2).X
    assert loaded is not None and np.array_equal(loaded.predict(X), head.predict(X))
    assert np.array_equal(loaded.columns, [5, 0])
    assert BoostedHead.load(tmp_path, "nobody", 2) is None
