"""The same extraction on Ray Data: equal tokens, equal quarantine."""

from pathlib import Path

import mediafiles
import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings

LOCAL = FeatureSettings(workers=2)


@pytest.mark.slow
def test_two_actors_give_what_two_processes_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is an extra")
    rng = np.random.default_rng(0)
    names = [f"{i}.mp4" for i in range(70)]
    for i, name in enumerate(names):
        frames = [rng.integers(0, 255, (48, 48, 3), np.uint8) for _ in range(6)]
        sound = mediafiles.tone(200 + 10 * i) if i % 3 else None
        mediafiles.write(tmp_path / "data" / name, frames, sound)
    (tmp_path / "data" / names[5]).write_text("no film")
    whole = (tmp_path / "data" / names[6]).read_bytes()
    (tmp_path / "data" / names[6]).write_bytes(whole[: len(whole) // 2])
    videos = pl.DataFrame({"video_id": names, "media": names, "title": ["a title"] * 70})
    wanted, refused, _ = extract(videos, tmp_path / "data", LOCAL)
    ray = LOCAL.model_copy(update={"engine": "ray"})
    found, broken, report = extract(videos, tmp_path / "data", ray, cache_dir=tmp_path / "cache")
    assert report["engine"] == "ray" and report["media_decoded"] == 68
    assert broken.equals(refused) and len(broken) == 2
    for m in ("visual", "audio", "text"):
        np.testing.assert_array_equal(found.tokens[m], wanted.tokens[m])
        np.testing.assert_array_equal(found.mask[m], wanted.mask[m])
    again, _, report = extract(videos, tmp_path / "data", LOCAL, cache_dir=tmp_path / "cache")
    assert report["media_from_cache"] == 68, "both engines fill one cache"
    np.testing.assert_array_equal(again.tokens["visual"], wanted.tokens["visual"])


def test_without_ray_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    mediafiles.write(tmp_path / "a.mp4", mediafiles.plain((10, 200, 30), 4))
    videos = pl.DataFrame({"video_id": ["a"], "media": ["a.mp4"]})
    with pytest.raises(InputError, match="m3tr\\[ray\\]"):
        extract(videos, tmp_path, LOCAL.model_copy(update={"engine": "ray"}))
