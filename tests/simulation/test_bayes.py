"""The Bayes forecast: calibrated, between the floor and the prior, blind to what comes later."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from m3tr.errors import InputError
from m3tr.hawkes.simulate import simulate_counts
from m3tr.simulation.bayes import Shapes, bayes_forecast, posterior, strata, world_settings
from m3tr.simulation.oracle import attainable_nmse, best_forecast
from m3tr.simulation.population import class_probabilities
from m3tr.simulation.process import BETA, CLASSES, draw_profile, immigration, jumps
from m3tr.simulation.replay import cases
from tests.simulation.labels import HORIZONS, labelled_examples, without_later_feedback


def _prior_forecast(out: Path, n: int, age: float, paths: int) -> np.ndarray:
    """`E log2(1 + N(age, H])` given the causes alone, by simulation from age 0; (n, horizons)."""
    settings, rng = world_settings(out), np.random.default_rng(4)
    forecasts = []
    for row in pl.read_parquet(out / "data/truth.parquet").head(n).iter_rows(named=True):
        expected = row["volume"] / np.exp(row["volume_noise"])
        p = class_probabilities(row["topic"], settings.topic_sharpness)
        logs = []
        for _ in range(paths):
            volume = expected * np.exp(rng.normal(0, settings.volume_noise))
            profile = draw_profile(CLASSES[rng.choice(5, p=p)], volume, rng)
            mu = immigration(profile, row["publication_hour"], HORIZONS[-1])
            seed = int(rng.integers(2**62))
            counts = [
                simulate_counts(*mu, jumps(), BETA, end, seed, 1)[0, 0] if end > 0 else 0
                for end in (age, *HORIZONS)
            ]
            logs.append(np.log2(1 + np.array(counts[1:]) - counts[0]))
        forecasts.append(np.mean(logs, axis=0))
    return np.array(forecasts)


def test_posterior_is_calibrated(table_world: Path) -> None:
    examples = labelled_examples(table_world, 300)
    settings, shapes = world_settings(table_world), Shapes(HORIZONS[-1], seed=0)
    p, true, rank, effective = [], [], [], []
    for case in cases(table_world, examples, "posterior"):
        found = posterior(case, strata(case.truth, settings, "causes"), shapes, draws=128)
        p.append(found.class_probabilities())
        true.append(CLASSES.index(case.truth["trajectory_class"]))
        below = [
            w[v <= np.log(case.truth["volume"])].sum()
            for v, w in zip(found.log_volumes, found.weights, strict=True)
        ]
        rank.append(sum(below))
        effective.append(found.effective_draws()[found.probabilities() >= 0.05].min())
        assert sum(w.sum() for w in found.weights) == pytest.approx(1)
    p, chosen = np.array(p), np.array(p)[np.arange(300), true]
    # a class drawn from the posterior is as often right as the truth, which is such a draw
    assert abs((chosen - (p**2).sum(axis=1)).mean()) < 4 * chosen.std() / np.sqrt(300)
    hit = p.argmax(axis=1) == true
    assert abs(p.max(axis=1).mean() - hit.mean()) < 4 * hit.std() / np.sqrt(300)
    assert hit.mean() > 0.75
    frequency = np.bincount(true, minlength=5) / 300
    assert (np.abs(p.mean(axis=0) - frequency) < 4 * p.std(axis=0) / np.sqrt(300)).all()
    assert stats.kstest(rank, "uniform").pvalue > 1e-3
    assert min(effective) > 50


def test_error_lies_between_the_floor_and_the_prior(table_world: Path) -> None:
    examples = labelled_examples(table_world, 100)
    y = np.array(examples["increment"].to_list())
    floor = ((best_forecast(table_world, examples, n_paths=40) - y) ** 2).mean(axis=0)
    forecast = bayes_forecast(table_world, examples, n_paths=80, draws=64)
    error = forecast - y
    bayes = (error**2).mean(axis=0)
    prior = ((_prior_forecast(table_world, 100, 1.0, 25) - y) ** 2).mean(axis=0)
    assert (floor < bayes).all() and (bayes < 0.8 * prior).all()
    assert (np.abs(error.mean(axis=0)) < 4 * error.std(axis=0) / 10).all()
    assert (np.diff(forecast, axis=1) > 0).all()


def test_at_age_zero_it_is_the_forecast_of_the_prior(table_world: Path) -> None:
    examples = labelled_examples(table_world, 4, age=0.0)
    forecast = bayes_forecast(table_world, examples, n_paths=600)
    np.testing.assert_allclose(forecast, _prior_forecast(table_world, 4, 0.0, 600), atol=0.25)
    settings = world_settings(table_world)
    for case in cases(table_world, examples, "posterior"):
        prior = strata(case.truth, settings, "causes")
        found = posterior(case, prior, Shapes(1.0, seed=0), draws=16)
        np.testing.assert_allclose(found.probabilities(), [s.probability for s in prior])


def test_knowing_the_causes_is_better_than_nothing(table_world: Path) -> None:
    examples = labelled_examples(table_world, 60)
    y = np.array(examples["increment"].to_list())
    error = {
        known: ((bayes_forecast(table_world, examples, 40, 32, known=known) - y) ** 2).mean(axis=0)
        for known in ("causes", "nothing")
    }
    assert (error["causes"] < error["nothing"]).all() and (error["nothing"] < y.var(axis=0)).all()


def test_deterministic_and_blind_to_the_future(table_world: Path, tmp_path: Path) -> None:
    examples = labelled_examples(table_world, 12)
    first = bayes_forecast(table_world, examples, n_paths=20, draws=16)
    past = without_later_feedback(table_world, tmp_path)
    again = bayes_forecast(past, examples, n_paths=20, draws=16)
    np.testing.assert_array_equal(first, again)
    other = bayes_forecast(table_world, examples, n_paths=20, draws=16, seed=1)
    assert (first != other).any() and np.abs(first - other).max() < 2
    y = np.array(examples["increment"].to_list())
    np.testing.assert_allclose(
        attainable_nmse(table_world, examples, n_paths=20, knowing="past"),
        ((bayes_forecast(table_world, examples, n_paths=20) - y) ** 2).mean(axis=0) / y.var(axis=0),
    )


def test_a_world_without_noise_and_a_video_without_feedback(table_world: Path) -> None:
    settings = world_settings(table_world).model_copy(update={"volume_noise": 0.0})
    examples = labelled_examples(table_world, 1)
    case = next(iter(cases(table_world, examples, "posterior")))
    prior = strata(case.truth, settings, "causes")
    found = posterior(case, prior, Shapes(7.0, seed=0), draws=16)
    assert all((v == prior[0].log_volume).all() for v in found.log_volumes)
    silent = bayes_forecast(table_world, examples.with_columns(age_days=pl.lit(1e-6)), 50, 16)
    assert np.isfinite(silent).all() and (silent > 0).all()


def test_user_mistakes_are_refused(table_world: Path, tmp_path: Path) -> None:
    examples = labelled_examples(table_world, 1)
    with pytest.raises(InputError, match="unknown kind"):
        bayes_forecast(table_world, examples, target="dislike")
    with pytest.raises(InputError, match="no video"):
        bayes_forecast(table_world, examples.with_columns(video_id=pl.lit("nobody")))
    with pytest.raises(InputError, match="known is 'all'"):
        bayes_forecast(table_world, examples, known="all")
    with pytest.raises(InputError, match="at least 1"):
        bayes_forecast(table_world, examples, draws=0)
    with pytest.raises(InputError, match="m3tr simulate"):
        bayes_forecast(tmp_path, examples)
    assert len(bayes_forecast(table_world, examples.clear())) == 0
