"""The blend is the planted one where there is one, the default where there is none."""

import json

import numpy as np
import pytest

from m3tr.memory.weights import DEFAULT_ETA, ETAS, Blend, learn

K, MODALITIES = 8, ("audio", "text", "visual")


class Planted:
    """Cosines of which the named parts tell the distance of the futures; others are noise."""

    def __init__(
        self, told: set[str], seed: int = 0, n: int = 500, queries: int = 150, noise: float = 0.7
    ) -> None:
        rng = np.random.default_rng(seed)
        self.labels, self.truth = rng.normal(size=(n, 2)), rng.normal(size=(queries, 2))
        self.labels[:, 1], self.truth[:, 1] = self.labels[:, 0], self.truth[:, 0]
        near = np.exp(-2 * (self.truth[:, :1] - self.labels[:, 0]) ** 2)
        self.part = {
            name: rng.normal(size=(queries, n)) * noise if name not in told else near
            for name in ("trajectory", *MODALITIES)
        }
        self.asked: list[tuple[float, ...]] = []
        self.returned: set[int] = set()

    def find(self, eta: float, weights: dict[str, float]) -> np.ndarray:
        self.asked.append((eta, *weights.values()))
        content = sum(weights[m] * self.part[m] for m in MODALITIES) / sum(weights.values())
        score = eta * self.part["trajectory"] + (1 - eta) * content
        index = np.argsort(-score, axis=1)[:, :K]
        self.returned |= set(index.ravel().tolist())
        return index


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("told", MODALITIES)
def test_the_informative_modality_is_found(told, seed):
    world = Planted({told}, seed)
    blend, tried = learn(world.find, world.labels, world.truth, MODALITIES)
    others = [w for m, w in blend.weights.items() if m != told]
    assert blend.weights[told] == 1 and max(others) <= 1 / 4
    assert blend.eta <= 0.3
    default = next(r for r in tried if r["eta"] == 0.5 and set(r["weights"].values()) == {1.0})
    chosen = next(r for r in tried if r["chosen"])
    assert chosen["error"] < 0.7 * default["error"]


@pytest.mark.parametrize("seed", [0, 1])
def test_an_informative_trajectory_is_found(seed):
    world = Planted({"trajectory"}, seed, noise=2)
    blend, _ = learn(world.find, world.labels, world.truth, MODALITIES)
    assert blend.eta >= 0.7
    world = Planted(set(MODALITIES), seed)
    blend, _ = learn(world.find, world.labels, world.truth, MODALITIES)
    assert blend.eta <= 0.4 and set(blend.weights.values()) == {1.0}


def test_where_nothing_tells_the_default_holds():
    """Some blend is always best by luck; of 30 worlds few may fall for it."""
    stays, lucky = [], []
    for seed in range(30):
        world = Planted(set(), 100 + seed)
        blend, tried = learn(world.find, world.labels, world.truth, MODALITIES)
        stays.append(blend == Blend.default(MODALITIES))
        default = next(r for r in tried if r["eta"] == DEFAULT_ETA)
        lucky.append(default["excess"] > default["se"])
    assert np.mean(stays) >= 0.8
    assert np.mean(lucky) >= 0.5  # the standard error alone would have moved


def test_equal_answers_give_the_default():
    index = np.tile(np.arange(4), (9, 1))
    rng = np.random.default_rng(0)
    labels, truth = rng.normal(size=(6, 2)), rng.normal(size=(9, 2))
    blend, tried = learn(lambda eta, weights: index, labels, truth, MODALITIES)
    assert blend == Blend.default(MODALITIES)
    assert len({r["error"] for r in tried}) == 1


@pytest.mark.parametrize("holes", [False, True])
def test_only_labels_of_what_was_found_are_read(holes):
    """The others may be anything, even absent; so may those behind a -1."""
    world = Planted({"text"}, n=9000, queries=40)

    def find(eta, weights):
        index = world.find(eta, weights)
        if holes:  # some queries with fewer, one with none
            index[::3, 5:] = -1
            index[7] = -1
        return index

    blend, tried = learn(find, world.labels, world.truth, MODALITIES)
    assert blend != Blend.default(MODALITIES)
    unread = np.setdiff1d(np.arange(len(world.labels)), list(world.returned))
    other = world.labels.copy()
    other[unread] = np.nan
    if holes:
        world.truth[7] = np.nan
    again, tried_again = learn(find, other, world.truth, MODALITIES)
    assert len(unread) > 1000
    assert (again, tried_again) == (blend, tried)
    assert all(np.isfinite(r["error"]) for r in tried_again)


def test_errors_are_those_of_the_neighbours_mean():
    labels = np.array([[0.0, 1.0], [4.0, 1.0], [9.0, 9.0]])
    truth = np.array([[1.0, 1.0], [4.0, 3.0]])
    index = np.array([[0, 1], [1, -1]])
    _, tried = learn(lambda eta, weights: index, labels, truth, ["text"])
    # means (2, 1) and (4, 1): squared errors (1, 0) and (0, 4)
    assert tried[0]["error"] == pytest.approx((0.5 + 2.0) / 2)


def test_no_search_is_asked_twice_and_few_are_asked():
    world = Planted({"text"})
    _, tried = learn(world.find, world.labels, world.truth, MODALITIES)
    assert len(world.asked) == len(set(world.asked)) == len(tried) < 60
    assert sum(r["chosen"] for r in tried) == 1
    assert all(max(r["weights"].values()) == 1 and min(r["weights"].values()) > 0 for r in tried)
    json.dumps(tried, allow_nan=False)


@pytest.mark.parametrize("modalities", [[], ["text"]])
def test_one_modality_or_none_leaves_eta_only(modalities):
    world = Planted({"trajectory"}, noise=2)
    everything = dict.fromkeys(MODALITIES, 1.0)
    blend, tried = learn(
        lambda eta, weights: world.find(eta, everything), world.labels, world.truth, modalities
    )
    assert blend.eta >= 0.7 and blend.weights == dict.fromkeys(modalities, 1.0)
    assert len(tried) == len(ETAS)


@pytest.mark.parametrize("queries", [0, 1, 5])
def test_without_evidence_the_default(queries):
    """No queries, one, or none that may be shown anything."""
    index = np.full((queries, 4), -1) if queries != 1 else np.zeros((1, 4), int)
    truth = np.ones((queries, 2))
    blend, tried = learn(lambda eta, weights: index, np.zeros((3, 2)), truth, MODALITIES)
    assert blend == Blend.default(MODALITIES) and tried == []
