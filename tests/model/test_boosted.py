"""The boosted heads: reproducible, weighted, saved as they are, robust where they say so."""

import lightgbm
import numpy as np
import pytest

from m3tr.model.boosted import HUBER, SEEDS, SQUARED, BoostedHead

N, D, H = 300, 4, 2


def data(n=N, seed=0):
    """Two horizons, each a step of its own column."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D))
    y = np.column_stack([2.0 * (X[:, 0] > 0), -3.0 * (X[:, 1] > 0.5)])
    return X, y + 0.2 * rng.normal(size=(n, H))


def fit(X, y, objective=SQUARED, seed=0, **settings):
    return BoostedHead.fit(X, y, *data(200, 1), objective, seed, **settings)


@pytest.fixture(scope="module")
def head():
    return fit(*data())


@pytest.mark.parametrize("objective", [SQUARED, HUBER])
def test_it_learns_every_horizon(objective):
    X, y = data(500, 2)
    error = ((fit(*data(), objective).predict(X) - y) ** 2).mean(0)
    assert (error < 0.15 * y.var(0)).all() and (error > 0.2**2 * 0.8).all()


def test_the_number_of_jobs_does_not_matter(head):
    one, many = fit(*data(), jobs=1), fit(*data(), jobs=5)
    assert one.models == head.models == many.models


def test_the_seed_does(head):
    again, other = fit(*data()), fit(*data(), seed=50)
    assert again.models == head.models
    assert all(a != b for a, b in zip(other.models, head.models, strict=True))


def test_a_forecast_is_the_mean_over_seeds(head):
    X, _ = data(20, 3)
    assert [len(each) for each in head.models] == [SEEDS] * H
    singles = [BoostedHead([[m[s]] for m in head.models]).predict(X) for s in range(SEEDS)]
    assert not np.allclose(singles[0], singles[1])
    assert np.allclose(np.mean(singles, 0), head.predict(X), atol=1e-12)


def test_saved_and_loaded_it_forecasts_the_same_to_the_bit(head, tmp_path):
    X, _ = data(50, 4)
    head.save(tmp_path, "head")
    fit(*data(seed=9)).save(tmp_path, "head2")  # another in the same folder
    loaded = BoostedHead.load(tmp_path, "head", H)
    assert loaded is not None and loaded.models == head.models
    assert np.array_equal(loaded.predict(X), head.predict(X))
    assert BoostedHead.load(tmp_path, "nobody", H) is None


def test_more_than_ten_horizons_and_seeds_come_back_in_order(head, tmp_path):
    text = head.models[0][0]
    many = BoostedHead([[f"{text}\n{h} {s}" for s in range(12)] for h in range(11)])
    many.save(tmp_path, "many")
    loaded = BoostedHead.load(tmp_path, "many", 11)
    assert loaded is not None and loaded.models == many.models


def test_rows_without_weight_are_as_good_as_absent():
    """Nonsense on the doubled rows is not followed, at weight 1 it is."""
    X, y = data()
    both, nonsense = np.vstack([X, X]), np.vstack([y, y + 10])
    test, _ = data(200, 5)
    alone = fit(X, y).predict(test)
    none, full = (
        fit(both, nonsense, weight=np.repeat([1.0, w], N)).predict(test) for w in (0.0, 1.0)
    )
    assert np.abs(none - alone).mean() < 0.15
    assert np.abs(full - alone).mean() > 2


def test_weights_are_proportions():
    """Two answers to one question: the forecast lies where their weights say."""
    X, _ = data(100)
    both, y = np.vstack([X, X]), np.repeat([[0.0, 0.0], [1.0, 1.0]], 100, axis=0)
    for w in (0.25, 1.0, 4.0):
        held = np.full((100, H), w / (1 + w))
        found = BoostedHead.fit(both, y, X, held, SQUARED, 0, np.repeat([1.0, w], 100))
        assert np.abs(found.predict(X) - w / (1 + w)).max() < 0.1


def test_huber_resists_outliers_that_squares_follow():
    X, y = data()
    wild = y.copy()
    hit = np.random.default_rng(6).random(N) < 0.04
    wild[hit] += 60
    test, truth = data(500, 7)
    robust, squared = (fit(X, wild, o).predict(test) for o in (HUBER, SQUARED))
    errors = [((f - truth) ** 2).mean() for f in (robust, squared)]
    assert errors[0] < 0.5 and errors[1] > 3 * errors[0]


def test_validation_decides_when_to_stop():
    """Noise that validation does not confirm gives few trees."""
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(N, D)), rng.normal(size=(N, 1))
    noise = BoostedHead.fit(X, y, rng.normal(size=(N, D)), rng.normal(size=(N, 1)), SQUARED, 0)
    trees, few = (
        [text.count("\nTree=") for text in each]
        for each in (fit(*data()).models[0], noise.models[0])
    )
    assert max(few) < 0.5 * min(trees)


def test_kept_are_the_trees_up_to_the_best_on_validation(head):
    X, y = data(200, 1)
    for h, texts in enumerate(head.models):
        for text in texts:
            booster = lightgbm.Booster(model_str=text)
            steps = range(1, booster.num_trees() + 1)
            errors = [((booster.predict(X, num_iteration=k) - y[:, h]) ** 2).mean() for k in steps]
            assert np.argmin(errors) == len(errors) - 1


def test_missing_numbers_and_few_rows_are_no_trouble():
    X, y = data(8)
    X[2, 0] = np.nan
    assert np.isfinite(fit(X, y).predict(X)).all()
