"""Weights over the neighbours."""

import numpy as np
import pytest

from m3tr.memory.neighbours import Neighbours


def neighbours() -> Neighbours:
    index = np.array([[4, 2, 0], [1, 3, -1], [-1, -1, -1]])
    score = np.where(index >= 0, [[0.9, 0.4, -0.2], [0.5, 0.5, 0], [0, 0, 0]], 0.0)
    return Neighbours(index, score, score, score)


@pytest.mark.parametrize("weighting", ["mean", "softmax"])
def test_weights_sum_to_one_over_what_was_found(weighting):
    found = neighbours()
    w = found.weights(weighting, 0.1)
    assert np.allclose(w.sum(1), [1, 1, 0]) and (w >= 0).all()
    assert (w[~found.found] == 0).all()
    assert np.allclose(w[1], [0.5, 0.5, 0])


def test_weights_are_the_definition():
    found = neighbours()
    assert np.allclose(found.weights("mean")[0], 1 / 3)
    for temperature in (0.05, 0.5):
        e = np.exp(found.score[0] / temperature)
        assert np.allclose(found.weights("softmax", temperature)[0], e / e.sum())
    sharp = found.weights("softmax", 1e-4)  # no overflow
    assert np.allclose(sharp[0], [1, 0, 0]) and np.isfinite(sharp).all()


def test_unlike_neighbours_have_weights_too():
    """Every score far below zero: nothing underflows to a sum of 0."""
    score = np.array([[-0.7, -0.9, 0.0], [0.0, 0.0, 0.0]])
    found = Neighbours(np.array([[3, 1, -1], [-1, -1, -1]]), score, score, score)
    w = found.weights("softmax", 0.001)
    assert np.allclose(w, [[1, 0, 0], [0, 0, 0]]) and np.isfinite(w).all()
    assert np.allclose(found.weights("mean"), [[0.5, 0.5, 0], [0, 0, 0]])
