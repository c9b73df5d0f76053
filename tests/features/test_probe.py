"""What the default encoders recover of the simulated world: topic and quality, by linear probes."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from m3tr.features.extract import extract
from m3tr.features.store import Features
from m3tr.simulation.settings import SimulationSettings
from m3tr.simulation.world import simulate_dataset


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Features, pl.DataFrame]:
    out = tmp_path_factory.mktemp("world")
    simulate_dataset(out, SimulationSettings(videos=200, seed=11, days=40.0, log_volume=3.0))
    videos = pl.read_parquet(out / "data/videos.parquet")
    truth = pl.read_parquet(out / "data/truth.parquet")
    features, _, _ = extract(videos, out / "data")
    return features, videos.select("video_id").join(truth, on="video_id", maintain_order="left")


@pytest.mark.parametrize("modality, least_topic, least_quality", [
    ("visual", 0.95, 0.95), ("audio", 0.9, 0.9), ("text", 0.6, 0.2),
])  # fmt: skip
def test_topic_and_quality_are_recovered(
    world: tuple[Features, pl.DataFrame], modality: str, least_topic: float, least_quality: float
) -> None:
    features, truth = world
    there = features.present(modality)
    X = features.pooled(modality)[there]
    topic, quality = (truth[name].to_numpy()[there] for name in ("topic", "quality"))
    topics = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
    accuracy = float(np.mean(cross_val_predict(topics, X, topic, cv=5) == topic))
    correlation = float(np.corrcoef(cross_val_predict(ridge, X, quality, cv=5), quality)[0, 1])
    print(f"{modality}: topic {accuracy:.3f}, quality {correlation:.3f}, {there.sum()} videos")
    assert accuracy > least_topic and correlation > least_quality
    shuffled = np.random.default_rng(0).permutation(topic)
    assert np.mean(cross_val_predict(topics, X, shuffled, cv=5) == shuffled) < 0.4, "of six"
