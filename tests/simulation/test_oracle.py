"""The best attainable forecast, and that content and the first day tell what comes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.simulation.oracle import attainable_nmse, best_forecast
from m3tr.simulation.process import CLASSES
from m3tr.simulation.replay import true_history
from tests.simulation.labels import labelled_examples, views, without_later_feedback


def test_best_forecast_is_far_better_than_the_mean_and_unbiased(table_world: Path) -> None:
    examples = labelled_examples(table_world, 120)
    forecast = best_forecast(table_world, examples, n_paths=40)
    y = np.array(examples["increment"].to_list())
    error = forecast - y
    nmse = (error**2).mean(axis=0) / y.var(axis=0)
    assert forecast.shape == (120, 3) and (np.diff(forecast, axis=1) >= 0).all()
    assert (nmse < [0.3, 0.2, 0.15]).all()
    assert (np.abs(error.mean(axis=0)) < 4 * error.std(axis=0) / np.sqrt(120)).all()
    few = attainable_nmse(table_world, examples.head(20), n_paths=40)
    np.testing.assert_allclose(few, (error[:20] ** 2).mean(axis=0) / y[:20].var(axis=0))


def test_best_forecast_reads_nothing_after_the_observation(
    table_world: Path, tmp_path: Path
) -> None:
    past = without_later_feedback(table_world, tmp_path)
    examples = labelled_examples(table_world, 15)
    np.testing.assert_array_equal(
        best_forecast(table_world, examples, n_paths=20),
        best_forecast(past, examples, n_paths=20),
    )


def test_history_leaves_out_exactly_the_fake_likes(table_world: Path) -> None:
    feedback = pl.read_parquet(table_world / "data/feedback.parquet")
    truth = pl.read_parquet(table_world / "data/truth.parquet")
    kept = sum(len(ages) for ages, _ in true_history(table_world).values())
    assert truth["fake_likes"].sum() > 0
    # a real like in the same millisecond as a fake one may go with it
    assert 0 <= feedback.height - truth["fake_likes"].sum() - kept <= 2


def test_unknown_video_and_kind_are_refused(table_world: Path) -> None:
    examples = labelled_examples(table_world, 1)
    with pytest.raises(InputError, match="unknown kind"):
        best_forecast(table_world, examples, target="dislike")
    with pytest.raises(InputError, match="no video"):
        best_forecast(table_world, examples.with_columns(video_id=pl.lit("nobody")))
    with pytest.raises(InputError, match="knowing is 'all'"):
        attainable_nmse(table_world, examples, knowing="all")


def _r2(X: np.ndarray, y: np.ndarray) -> float:
    X = np.column_stack([np.ones(len(y)), X])
    residual = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    return 1 - residual.var() / y.var()


def test_causes_tell_level_and_class_and_the_class_tells_more(table_world: Path) -> None:
    truth = pl.read_parquet(table_world / "data/truth.parquet")
    videos = pl.read_parquet(table_world / "data/videos.parquet")
    y = np.log2(1 + views(table_world, 1.0, 7.0))
    day_one = np.log2(1 + views(table_world, 0.0, 1.0))[:, None]
    classes = (truth["trajectory_class"].to_numpy()[:, None] == np.array(CLASSES[1:])) * 1.0
    topics = truth["topic"].to_dummies().to_numpy()[:, 1:]
    content = np.column_stack(
        [topics, truth["quality"].to_numpy(), np.log(videos["creator_followers"].to_numpy())]
    )
    assert _r2(content, y) > 0.3
    assert _r2(day_one, y) > 0.15
    both = _r2(np.column_stack([content, day_one]), y)
    assert both > max(_r2(content, y), _r2(day_one, y)) + 0.05
    # knowing the class is worth much: that is what retrieval by trajectory can bring
    assert _r2(np.column_stack([content, day_one, classes]), y) > both + 0.1
    table = truth.pivot(
        "trajectory_class", index="topic", values="video_id", aggregate_function="len"
    )
    counts = table.drop("topic").fill_null(0).to_numpy()
    modal = counts.max(axis=1).sum() / counts.sum()
    assert modal > 0.45  # five classes: chance is about 0.25
