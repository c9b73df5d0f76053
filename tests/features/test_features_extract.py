"""The whole extraction on real files: order, masks, quarantine, resuming, precomputed columns."""

from pathlib import Path

import mediafiles
import numpy as np
import polars as pl
import pytest
from PIL import Image

from m3tr.data.quarantine import SCHEMA
from m3tr.errors import InputError
from m3tr.features.extract import extract, extract_to
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features

SETTINGS = FeatureSettings.model_validate(
    {"visual": {"frames": 4}, "audio": {"segments": 2}, "workers": 2}
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one file of each kind."""
    data = tmp_path_factory.mktemp("data")
    frames = [np.full((48, 64, 3), (20 * i, 100, 50), np.uint8) for i in range(10)]
    mediafiles.write(data / "media/full.mp4", frames, mediafiles.tone(300))
    mediafiles.write(data / "media/mute.mp4", frames)
    mediafiles.write(data / "media/sound.m4a", sound=mediafiles.tone(500))
    Image.fromarray(frames[3]).save(data / "media/still.jpg")
    whole = (data / "media/full.mp4").read_bytes()
    (data / "media/cut.mp4").write_bytes(whole[: len(whole) // 2])
    (data / "media/text.mp4").write_text("no film")
    (data / "media/zero.mp4").touch()
    return data


@pytest.fixture(scope="module")
def videos() -> pl.DataFrame:
    media = [
        "full.mp4",
        "cut.mp4",
        None,
        "still.jpg",
        "text.mp4",
        "sound.m4a",
        "mute.mp4",
        "zero.mp4",
    ]
    cells = [f"media/{name}" if name else None for name in media] + ["../escape.mp4", ""]
    return pl.DataFrame(
        {
            "video_id": [f"v{9 - i}" for i in range(10)],
            "title": ["one", "two", "three", None, "  ", "six", "seven", "eight", "nine", None],
            "description": [None, "more", None, None, None, None, "words", None, None, None],
            "media": cells,
        }
    )


def test_order_masks_and_quarantine(data: Path, videos: pl.DataFrame, tmp_path: Path) -> None:
    features, quarantine, report = extract(videos, data, SETTINGS)
    assert features.ids == videos["video_id"].to_list()
    assert features.mask["visual"].sum(1).tolist() == [4, 0, 0, 1, 0, 0, 4, 0, 0, 0]
    assert features.mask["audio"].sum(1).tolist() == [2, 0, 0, 0, 0, 2, 0, 0, 0, 0]
    assert features.mask["text"].tolist()[1] == [True, True]
    assert features.mask["text"].any(1).tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1, 0]
    for m, tokens in features.tokens.items():
        assert tokens.dtype == np.float32 and np.isfinite(tokens).all()
        assert not tokens[~features.mask[m]].any(), "what is absent is zero"
    assert quarantine["row"].to_list() == [1, 4, 7, 8]
    assert quarantine["video_id"].to_list() == ["v8", "v5", "v2", "v1"]
    assert dict(quarantine.schema) == SCHEMA and quarantine["table"].unique().item() == "videos"
    assert all(quarantine["reason"].str.len_chars() > 10) and all(
        quarantine["remedy"].str.len_chars() > 10
    )
    assert not quarantine["reason"].str.contains(str(data)).any(), "no path of this machine"
    written, told = extract_to(
        tmp_path / "out", videos, data, SETTINGS, cache_dir=tmp_path / "cache"
    )
    loaded = Features.load(tmp_path / "out")
    for m in features.tokens:
        np.testing.assert_array_equal(loaded.tokens[m], features.tokens[m])
        np.testing.assert_array_equal(loaded.mask[m], features.mask[m])
    assert written.equals(quarantine) and told["present"] == report["present"]
    assert report["present"] == {"visual": 3, "audio": 2, "text": 7}
    assert report["quarantined"] == 4


def test_results_do_not_depend_on_workers_order_or_cache(
    data: Path, videos: pl.DataFrame, tmp_path: Path
) -> None:
    for name, workers, cache in (("a", 2, "x"), ("b", 1, "y"), ("c", 2, "y")):
        settings = SETTINGS.model_copy(update={"workers": workers})
        extract_to(tmp_path / name, videos, data, settings, cache_dir=tmp_path / cache)
    files = [(tmp_path / name / "part-00000.parquet").read_bytes() for name in "abc"]
    assert files[0] == files[1] == files[2]
    backwards, _, _ = extract(videos.reverse(), data, SETTINGS)
    np.testing.assert_array_equal(
        backwards.tokens["audio"][::-1], Features.load(tmp_path / "a").tokens["audio"]
    )


def test_the_cache_follows_bytes_and_settings(
    data: Path, videos: pl.DataFrame, tmp_path: Path
) -> None:
    def counts(frame: pl.DataFrame, settings: FeatureSettings) -> tuple[int, int]:
        report = extract(frame, data, settings, cache_dir=tmp_path / "cache")[2]
        return report["media_from_cache"], report["media_decoded"]

    assert counts(videos, SETTINGS) == (0, 4)
    assert counts(videos, SETTINGS) == (4, 0)
    assert counts(videos.with_columns(title=pl.lit("new")), SETTINGS) == (4, 0)
    (data / "media/copy.mp4").write_bytes((data / "media/full.mp4").read_bytes())
    more = videos.head(1).with_columns(media=pl.lit("media/copy.mp4"))
    assert counts(more, SETTINGS) == (1, 0)
    other = SETTINGS.model_copy(update={"visual": SETTINGS.visual.model_copy(update={"frames": 2})})
    assert counts(videos, other) == (0, 4)
    (shard, *_) = (tmp_path / "cache").rglob("shard-*.parquet")
    shard.write_bytes(shard.read_bytes()[:20])
    assert sum(counts(videos, SETTINGS)) == 4


def test_limits_of_the_day_judge_what_is_cached(
    data: Path, videos: pl.DataFrame, tmp_path: Path
) -> None:
    def refused(settings: FeatureSettings, cache: str) -> list[int]:
        cached = tmp_path / cache
        features, quarantine, _ = extract(videos, data, settings, cache_dir=cached)
        gone = [not features.present(m)[0] for m in ("visual", "audio")]
        return [*quarantine["row"].to_list(), *gone]

    def limited(settings: FeatureSettings, **limits: float) -> FeatureSettings:
        changed = settings.limits.model_copy(update=limits)
        return settings.model_copy(update={"limits": changed})

    assert refused(SETTINGS, "x") == [1, 4, 7, 8, False, False]
    for limits in ({"max_pixels": 1000}, {"max_duration_s": 0.3}):
        tight = limited(SETTINGS, **limits)
        assert refused(tight, "x") == refused(tight, "fresh")
        # the sound is to be encoded anew, the picture is not
        segments = SETTINGS.audio.model_copy(update={"segments": 3})
        other = limited(SETTINGS.model_copy(update={"audio": segments}), **limits)
        assert refused(other, "x") == refused(other, "fresh")
    assert refused(SETTINGS, "x") == [1, 4, 7, 8, False, False]


def test_one_modality_can_be_asked_of_a_file_without_it(data: Path, videos: pl.DataFrame) -> None:
    vectors = pl.Series("emb_visual", [[1.0, 2.0]] * 10, pl.List(pl.Float32))
    features, quarantine, _ = extract(videos.with_columns(vectors), data, SETTINGS)
    assert features.present("audio").tolist() == [i in (0, 5) for i in range(10)]
    assert quarantine["row"].to_list() == [1, 4, 7, 8], "a mute video and a still are no fault"


def test_the_cache_may_not_lie_in_the_output(
    data: Path, videos: pl.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="move it out"):
        extract_to(tmp_path, videos, data, SETTINGS, cache_dir=tmp_path / "shards")


def test_nothing_is_written_in_memory(data: Path, videos: pl.DataFrame, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    features, _, _ = extract(videos.head(1), data, SETTINGS)
    assert features.shapes == {"visual": (4, 128), "audio": (2, 88), "text": (2, 256)}
    assert not list(tmp_path.iterdir())


def test_a_modality_nobody_has_is_left_out(videos: pl.DataFrame) -> None:
    features, quarantine, _ = extract(videos.select("video_id", "title"), None, SETTINGS)
    assert list(features.tokens) == ["text"] and len(quarantine) == 0
    bare, _, _ = extract(videos.select("video_id"), None, SETTINGS)
    assert bare.tokens == {} and len(bare) == 10
    nothing, quarantine, _ = extract(videos.head(0), None, SETTINGS)
    assert len(nothing) == 0 and len(quarantine) == 0
    _, quarantine, _ = extract(videos.head(1), None, SETTINGS)
    assert "no data folder" in quarantine["reason"].item()


def test_precomputed_embeddings_win_over_the_encoder(data: Path, videos: pl.DataFrame) -> None:
    vectors = [[float(i), 1.0, 2.0] for i in range(10)]
    broken: list = list(vectors)
    broken[2], broken[5], broken[6], broken[7] = (
        [1.0],
        [1.0, float("nan"), 0.0],
        None,
        [1.0, None, 2.0],
    )
    frame = videos.with_columns(
        pl.Series("emb_visual", broken, pl.List(pl.Float32)),
        pl.Series("emb_text", vectors, pl.List(pl.Float64)),
    )
    features, quarantine, _ = extract(frame, data, SETTINGS)
    assert features.shapes == {"visual": (1, 3), "audio": (2, 88), "text": (1, 3)}
    np.testing.assert_array_equal(features.tokens["text"][:, 0], np.array(vectors, np.float32))
    assert features.mask["visual"][:, 0].tolist() == [i not in (2, 5, 6, 7) for i in range(10)]
    told = quarantine.filter(pl.col("reason").str.starts_with("emb_visual"))
    assert told["row"].to_list() == [2, 5, 7]
    assert "1 entries, most rows have 3" in told["reason"][0]
    with pytest.raises(InputError, match="emb_audio"):
        extract(videos.with_columns(emb_audio=pl.lit("text")), data, SETTINGS)


def test_a_video_twice_is_refused(videos: pl.DataFrame) -> None:
    with pytest.raises(InputError, match="rows 0 and 10"):
        extract(pl.concat([videos, videos.head(1)]), None, SETTINGS)
