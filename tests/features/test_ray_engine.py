"""The same extraction on Ray Data: equal tokens, equal quarantine."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mediafiles
import numpy as np
import polars as pl
import pytest
from encoding import settings

from m3tr.errors import InputError
from m3tr.features import ray_engine
from m3tr.features.engine import Job
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


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One Ray for the tests below; it believes in a GPU."""
    ray = pytest.importorskip("ray", reason="Ray is an extra")
    ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def run(options: FeatureSettings, film: Path, workers: int = 2) -> list[Any]:
    mediafiles.write(film, mediafiles.plain((10, 200, 30), 4))
    with ray_engine.RayEngine(options, workers) as engine:
        return list(engine.run([Job(film, ("visual",))] * 3))


@pytest.mark.slow
def test_a_bad_checkpoint_is_one_sentence(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = settings(visual="./nowhere", engine="ray")
    with pytest.raises(InputError, match="features.visual.encoder './nowhere'") as here:
        run(options, tmp_path / "a.mp4")
    # on a machine that lacks what the driver has
    monkeypatch.setattr(ray_engine, "build", lambda *_, **__: None)
    with pytest.raises(InputError, match="features.visual.encoder './nowhere'") as there:
        run(options, tmp_path / "a.mp4")
    assert str(there.value) == str(here.value)


@pytest.mark.slow
def test_actors_take_the_drivers_device_and_only_gpus_that_are_there(
    ray: Any, checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("actors would find a GPU, too")
    monkeypatch.setattr("m3tr.features.pretrained.device.device", lambda _: "cuda")
    options = settings(visual=checkpoints["vit"], device="auto", engine="ray")
    # two actors for the one GPU: the second would wait for ever
    with pytest.raises(InputError, match="features.device is 'cuda' but torch sees no CUDA"):
        run(options, tmp_path / "a.mp4")


def test_device_and_precision_are_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = settings(visual="some/checkpoint", device="auto")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    placed, gpus = ray_engine._placed(auto, {"visual", "audio"}, 3.0)
    assert (placed.device, placed.precision, gpus) == ("cuda", "float16", 3)
    with pytest.raises(InputError, match="Ray sees none; start Ray with --num-gpus"):
        ray_engine._placed(auto, {"visual"}, 0)
    placed, gpus = ray_engine._placed(auto, {"audio"}, 3.0)  # needs no checkpoint
    assert (placed.device, gpus) == ("cpu", 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    placed, gpus = ray_engine._placed(auto, {"visual"}, 3.0)
    assert (placed.device, placed.precision, gpus) == ("cpu", "float32", 0)


def test_without_a_need_actors_see_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    actor = ray_engine._Actor(settings(), True, True)
    actor.engine.__exit__()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_mistake_in_a_batch_keeps_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise InputError("lower features.batch_size")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    actor = ray_engine._Actor(settings(), True, False)
    monkeypatch.setattr(actor.engine, "run", full)
    columns = actor({"path": np.array([b"a.mp4"]), "modalities": np.array(["visual"])})
    row = {name: column[0] for name, column in columns.items()}
    with pytest.raises(InputError, match="^lower features.batch_size$"):
        next(ray_engine._told([row]))
    actor.engine.__exit__()


def test_what_ends_ray_early_is_one_sentence() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"mistake": "", "index": 0}
        raise RuntimeError("died\n  trace\nRuntimeError: Out of memory.\nTo retry: configure Ray")

    told = ray_engine._told(rows())
    assert next(told)["index"] == 0
    with pytest.raises(InputError, match="engine is 'ray'.*: Out of memory\\).*'local'") as e:
        next(told)
    assert "\n" not in str(e.value)


def test_what_is_left_is_closed_at_once() -> None:
    closed = []

    def rows() -> Iterator[dict[str, Any]]:
        try:
            yield {"mistake": "give another name"}
        finally:
            closed.append(True)

    left = rows()  # somebody still holds it
    with pytest.raises(InputError, match="another name"):
        next(ray_engine._told(left))
    assert closed


def test_without_ray_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    mediafiles.write(tmp_path / "a.mp4", mediafiles.plain((10, 200, 30), 4))
    videos = pl.DataFrame({"video_id": ["a"], "media": ["a.mp4"]})
    with pytest.raises(InputError, match="m3tr\\[ray\\]"):
        extract(videos, tmp_path, LOCAL.model_copy(update={"engine": "ray"}))
