"""X_R and the summaries of labels against loops over neighbours."""

import numpy as np
import pytest

from m3tr.memory.neighbours import Neighbours
from m3tr.model.inputs import Tokens, creator_summary, label_summary, retrieved_tokens

Q, K, N, H = 5, 4, 12, 2
SIZES = {"visual": (3, 6), "text": (2, 4)}


@pytest.fixture
def world():
    """A bank's tokens, and neighbours of which the last query has none."""
    rng = np.random.default_rng(0)
    x = {m: rng.normal(size=(N, *s)).astype("f4") for m, s in SIZES.items()}
    mask = {m: rng.random((N, s[0])) < 0.6 for m, s in SIZES.items()}
    index = np.stack([rng.permutation(N)[:K] for _ in range(Q)])
    index[1, 2:], index[4] = -1, -1
    score = np.where(index >= 0, -np.sort(-rng.random((Q, K))), 0.0)
    found = Neighbours(index, score, 0.7 * score, 0.3 * score)
    return rng, Tokens(x, mask), found


@pytest.mark.parametrize("weighting", ["mean", "softmax"])
def test_retrieved_tokens_are_means_over_those_present(world, weighting):
    rng, bank, found = world
    weights = found.weights(weighting, 0.2)
    got = retrieved_tokens(bank, found, weights)
    for m, (T, D) in SIZES.items():
        assert got.x[m].shape == (Q, T, D) and got.x[m].dtype == np.float32
        for q in range(Q):
            for t in range(T):
                total, mean = 0.0, np.zeros(D)
                for j in range(K):
                    b = found.index[q, j]
                    if b >= 0 and bank.mask[m][b, t]:
                        total += weights[q, j]
                        mean = mean + weights[q, j] * bank.x[m][b, t]
                assert got.mask[m][q, t] == (total > 0)
                expected = mean / total if total > 0 else np.zeros(D)
                assert np.allclose(got.x[m][q, t], expected, atol=1e-6)
    assert not any(got.mask[m][4].any() for m in SIZES)


def test_absent_tokens_of_a_neighbour_do_not_matter(world):
    rng, bank, found = world
    weights = found.weights()
    noise = {m: np.where(bank.mask[m][:, :, None], a, 1e6) for m, a in bank.x.items()}
    one = retrieved_tokens(bank, found, weights)
    two = retrieved_tokens(Tokens(noise, bank.mask), found, weights)
    for m in SIZES:
        assert np.array_equal(one.x[m], two.x[m])


def test_label_summary_against_a_loop(world):
    rng, _, found = world
    labels, residuals = rng.normal(size=(N, H)), rng.normal(size=(N, H))
    base, weights = rng.normal(size=(Q, H)), found.weights("softmax", 0.3)
    got = label_summary(labels, residuals, found, weights, base)
    assert got.shape == (Q, 3 * H + 4) and got.dtype == np.float32
    for q in range(Q):
        places = [j for j in range(K) if found.index[q, j] >= 0]
        if not places:
            assert (got[q] == 0).all()
            continue
        w = np.array([weights[q, j] for j in places])
        r = np.array([residuals[found.index[q, j]] for j in places])
        y = np.array([labels[found.index[q, j]] for j in places])
        s = np.array([found.score[q, j] for j in places])
        centre = w @ r
        spread = np.sqrt(w @ (r - centre) ** 2)
        expected = [*centre, *spread, *(w @ y - base[q]), w @ s, 0.7 * (w @ s), 0.3 * (w @ s)]
        assert np.allclose(got[q], [*expected, s.max()], atol=1e-6)


def test_the_best_similarity_may_be_negative():
    """One poor neighbour: its similarity is reported as it is."""
    score = np.array([[-0.4, -0.6]])
    found = Neighbours(np.array([[0, 1]]), score, score, score)
    zeros = np.zeros((2, 1))
    got = label_summary(zeros, zeros, found, found.weights(), np.zeros((1, 1)))
    assert got[0, -1] == pytest.approx(-0.4)


def test_creator_summary_against_a_loop():
    rng = np.random.default_rng(3)
    labels, residuals = rng.normal(5, 2, (Q, K, H)), rng.normal(size=(Q, K, H))
    found = np.arange(K) < np.array([[0], [1], [2], [K], [1]])
    base = rng.normal(5, 1, (Q, H))
    got = creator_summary(labels, residuals, found, base)
    assert got.shape == (Q, 2 * H + 1) and got.dtype == np.float32
    for q in range(Q):
        n = int(found[q].sum())
        one_more = [np.zeros(H)]
        r = np.mean([*residuals[q, :n], *one_more], 0)
        against = np.mean([*(labels[q, :n] - base[q]), *one_more], 0)
        assert np.allclose(got[q], [*r, *against, np.log2(1 + n)], atol=1e-6)
    assert (got[0] == 0).all()


def test_places_without_a_video_do_not_matter_to_the_creator_summary():
    rng = np.random.default_rng(4)
    labels, residuals, base = (rng.normal(size=s) for s in ((Q, K, H), (Q, K, H), (Q, H)))
    found = rng.random((Q, K)) < 0.5
    there = found[:, :, None]
    odd = np.where(there, labels, np.nan), np.where(there, residuals, np.inf)
    one, two = creator_summary(labels, residuals, found, base), creator_summary(*odd, found, base)
    assert np.array_equal(one, two)
