"""Saving, loading, and what is said when there is nothing to load; weights over neighbours."""

import json

import numpy as np
import pytest

from m3tr.errors import InputError
from m3tr.memory.bank import Bank, Neighbours


@pytest.mark.parametrize("n", [0, 25])
def test_a_bank_survives_its_folder(make, tmp_path, n):
    rng = np.random.default_rng(n)
    bank, query = make.bank(rng, n), make.keys(rng, 4)
    bank.values["mask"] = rng.random((n, 3)) < 0.5
    bank.save(tmp_path / "bank")
    again = Bank.load(tmp_path / "bank")
    assert again.items.equals(bank.items) and len(again) == n
    assert set(again.values) == {"increment", "mask"}
    for name, value in bank.values.items():
        assert np.array_equal(again.values[name], value) and again.values[name].dtype == value.dtype
    known_by, exclude = make.times(np.full(4, 3.0)), np.array([0, 1, 2, 3])
    one = bank.search(query, 6, 0.3, known_by, exclude)
    two = again.search(query, 6, 0.3, known_by, exclude)
    for name in ("index", "score", "trajectory", "content"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


def test_saving_again_replaces_and_leaves_nothing_behind(make, tmp_path):
    rng = np.random.default_rng(0)
    make.bank(rng, 9).save(tmp_path / "bank")
    (tmp_path / "bank.partial").mkdir()  # a run that was killed
    (tmp_path / "bank" / "stale").touch()
    make.bank(rng, 4).save(tmp_path / "bank")
    assert len(Bank.load(tmp_path / "bank")) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["bank"]
    assert not (tmp_path / "bank" / "stale").exists()


def test_no_bank_is_one_sentence(make, tmp_path):
    with pytest.raises(InputError, match="run the stage `bank`"):
        Bank.load(tmp_path)
    make.bank(np.random.default_rng(0), 3).save(tmp_path / "bank")
    manifest = tmp_path / "bank" / "manifest.json"
    manifest.write_text(json.dumps({"schema": 999, "items": 3}))
    with pytest.raises(InputError, match="schema 999.*rebuild"):
        Bank.load(tmp_path / "bank")
    manifest.write_text("{")
    with pytest.raises(InputError, match="run the stage `bank`"):
        Bank.load(tmp_path / "bank")


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
