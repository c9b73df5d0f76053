"""The files decode with PyAV as listed, and what they show tells topic and quality."""

from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def _tables(out: Path) -> pl.DataFrame:
    truth = pl.read_parquet(out / "data/truth.parquet")
    return truth.join(pl.read_parquet(out / "data/videos.parquet"), on="video_id")


def _frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def _samples(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])


def test_streams_are_as_listed(world: tuple[Path, dict]) -> None:
    sound_files = 0
    for row in _tables(world[0]).iter_rows(named=True):
        path = world[0] / "data" / row["media"]
        if row["defect"] in ("truncated", "not a video"):
            with pytest.raises(av.FFmpegError), av.open(str(path)) as container:
                list(container.decode(video=0))
            continue
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            assert video.codec_context.name == "h264"
            assert (video.width, video.height, video.average_rate) == (64, 96, 8)
            assert len(container.streams.audio) == (row["defect"] != "no audio")
            for stream in container.streams.audio:
                sound_files += 1
                assert stream.codec_context.name == "aac"
                assert (stream.rate, stream.channels) == (16_000, 1)
        assert len(_frames(path)) == round(row["duration_s"] * 8)
    assert sound_files > 60


def test_sound_is_as_long_as_the_picture(world: tuple[Path, dict]) -> None:
    row = _tables(world[0]).filter(pl.col("defect") == "none").row(0, named=True)
    samples = _samples(world[0] / "data" / row["media"])
    assert len(samples) / 16_000 == pytest.approx(row["duration_s"], abs=0.2)
    assert 0.05 < samples.std() < 0.7


def test_simple_frame_statistics_tell_topic_and_quality(world: tuple[Path, dict]) -> None:
    table = _tables(world[0]).filter(pl.col("defect").is_in(["none", "no audio"]))
    features = []
    for media in table["media"]:
        frames = _frames(world[0] / "data" / media) / 255.0
        colour = frames.mean(axis=(0, 1, 2))
        features.append([*(colour - colour.mean()), frames.mean(axis=-1).std(), frames.std()])
    X = StandardScaler().fit_transform(np.array(features))
    topic = cross_val_predict(LogisticRegression(max_iter=1000), X, table["topic"].to_numpy(), cv=4)
    assert (topic == table["topic"].to_numpy()).mean() > 0.8
    quality = table["quality"].to_numpy()
    guess = cross_val_predict(make_pipeline(StandardScaler(), RidgeCV()), X, quality, cv=4)
    assert np.corrcoef(guess, quality)[0, 1] > 0.7


def test_spectrum_tells_the_topic(world: tuple[Path, dict]) -> None:
    table = _tables(world[0]).filter(pl.col("defect") == "none")
    features = []
    for media in table["media"]:
        power = np.abs(np.fft.rfft(_samples(world[0] / "data" / media)[:32_000])) ** 2
        bands = np.add.reduceat(power, np.geomspace(120, 12_000, 25).astype(int))
        features.append(np.log(bands / bands.sum() + 1e-9))
    X = StandardScaler().fit_transform(np.array(features))
    topic = cross_val_predict(
        LogisticRegression(C=0.1, max_iter=1000), X, table["topic"].to_numpy(), cv=4
    )
    assert (topic == table["topic"].to_numpy()).mean() > 0.6


def test_titles_hint_at_the_topic(world: tuple[Path, dict]) -> None:
    from m3tr.simulation.texts import NOUNS

    hits = [
        any(noun.lower() in row["title"].lower() for noun in NOUNS[row["topic"]][row["language"]])
        for row in _tables(world[0]).drop_nulls("title").iter_rows(named=True)
    ]
    assert 0.75 < np.mean(hits) < 1.0  # a hint, with noise
