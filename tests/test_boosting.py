"""Tuned gradient boosting: reproducible, weighted, saved as it is, robust where it says so."""

import numpy as np
import pytest

from m3tr.boosting import HUBER, SQUARED, Boosting

N, D, H = 300, 4, 2


def data(n=N, seed=0):
    """Two horizons, each a step of its own column."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D))
    y = np.column_stack([2.0 * (X[:, 0] > 0), -3.0 * (X[:, 1] > 0.5)])
    return X, y + 0.2 * rng.normal(size=(n, H))


def fit(X, y, objective=SQUARED, seed=0, weight=None, jobs=2, seeds=2):
    return Boosting(2, seeds, jobs, seed, objective).fit(X, y, *data(200, 1), weight)


def texts(boosting):
    return [[model.model_to_string() for model in each] for each in boosting.models]


@pytest.fixture(scope="module")
def fitted():
    return fit(*data())


@pytest.mark.parametrize("objective", [SQUARED, HUBER])
def test_it_learns_every_horizon(objective):
    X, y = data(500, 2)
    error = ((fit(*data(), objective).predict(X) - y) ** 2).mean(0)
    assert (error < 0.15 * y.var(0)).all() and (error > 0.2**2 * 0.8).all()


def test_the_seed_decides_and_the_number_of_jobs_does_not(fitted):
    assert texts(fit(*data(), jobs=1)) == texts(fitted) == texts(fit(*data(), jobs=5))
    assert all(a != b for a, b in zip(texts(fit(*data(), seed=50)), texts(fitted), strict=True))


def test_the_error_is_that_on_validation_at_the_last_horizon():
    X, y = data(200, 1)
    one = fit(*data(), seeds=1)
    assert one.error == pytest.approx(((one.predict(X) - y)[:, -1] ** 2).mean())


def test_saved_and_loaded_it_forecasts_the_same_to_the_bit(fitted, tmp_path):
    X, _ = data(50, 4)
    fitted.save(tmp_path, "one")
    fit(*data(seed=9)).save(tmp_path, "one2")  # another in the same folder
    loaded = Boosting.load(tmp_path, "one", H)
    assert loaded is not None and np.array_equal(loaded.predict(X), fitted.predict(X))
    assert Boosting.load(tmp_path, "nobody", H) is None


def test_more_than_ten_seeds_come_back_in_order(tmp_path):
    many = Boosting(1, 12).fit(*data(60), *data(40, 1))
    many.save(tmp_path, "many")
    loaded = Boosting.load(tmp_path, "many", H)
    X, _ = data(20, 3)
    each = [[m.predict(X) for m in models] for models in many.models]
    assert loaded is not None
    again = [[m.predict(X) for m in models] for models in loaded.models]
    assert np.array_equal(each, again)


def test_rows_without_weight_are_as_good_as_absent():
    """Nonsense on the doubled rows is not followed, at weight 1 it is."""
    X, y = data()
    both, nonsense = np.vstack([X, X]), np.vstack([y, y + 10])
    test, _ = data(200, 5)
    alone = fit(X, y).predict(test)
    none, full = (
        fit(both, nonsense, weight=np.repeat([1.0, w], N)).predict(test) for w in (0.0, 1.0)
    )
    assert np.abs(none - alone).mean() < 0.2
    assert np.abs(full - alone).mean() > 2


def test_huber_resists_outliers_that_squares_follow():
    X, y = data()
    wild = y.copy()
    hit = np.random.default_rng(6).random(N) < 0.04
    wild[hit] += 60
    test, truth = data(500, 7)
    robust, squared = (fit(X, wild, o).predict(test) for o in (HUBER, SQUARED))
    errors = [((f - truth) ** 2).mean() for f in (robust, squared)]
    assert errors[0] < 0.5 and errors[1] > 3 * errors[0]


def test_missing_numbers_and_few_rows_are_no_trouble():
    X, y = data(8)
    X[2, 0] = np.nan
    assert np.isfinite(fit(X, y).predict(X)).all()


def test_progress_is_shown_under_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("m3tr.progress.LINE_EVERY_SECONDS", 0.0)
    fit(*data())
    assert capsys.readouterr().err == ""
    Boosting(2, 2).fit(*data(), *data(200, 1), shown_as="boosted head")
    # two settings, then what the search has not made of two horizons and two seeds
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in told] == [
        f"boosted head: {done}" for done in ("1/2", "2/2", "1/3", "2/3", "3/3")
    ]
