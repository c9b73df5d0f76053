"""What a fingerprint answers to, and what it must not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from m3tr.features import fingerprints as module
from m3tr.features.encoders import fingerprints
from m3tr.features.settings import FeatureSettings


def of(**told: Any) -> dict[str, str]:
    return fingerprints(FeatureSettings.model_validate(told))


def changed(a: dict[str, str], b: dict[str, str]) -> set[str]:
    return {m for m in a if a[m] != b[m]}


def checkpoint(folder: Path, weights: bytes = b"1234") -> str:
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling/config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return str(folder)


def test_settings_change_their_own_modality() -> None:
    usual = of()
    assert changed(usual, of(visual={"frames": 7})) == {"visual"}
    assert changed(usual, of(audio={"segments": 7})) == {"audio"}
    assert changed(usual, of(audio={"max_seconds": 7})) == {"audio"}
    assert changed(usual, of(audio={"sample_rate": 8_000})) == {"audio"}
    assert changed(usual, of(text={"max_characters": 7})) == {"text"}


def test_how_it_is_computed_changes_nothing(tmp_path: Path) -> None:
    other = {"workers": 3, "engine": "ray", "batch_size": 2, "limits": {"max_pixels": 9}}
    assert of() == of(**other) == of(precision="bfloat16", device="cpu")
    name = checkpoint(tmp_path / "x")
    pretrained = {"visual": {"encoder": name}, "device": "cpu"}
    assert of(**pretrained) == of(**pretrained, **other) == of(**pretrained, precision="float32")


def test_a_checkpoint_is_its_content(tmp_path: Path) -> None:
    here, there = checkpoint(tmp_path / "here"), checkpoint(tmp_path / "there")
    before = of(text={"encoder": here}, device="cpu")
    assert changed(of(), before) == {"text"}
    assert of(text={"encoder": there}, device="cpu") == before, "wherever it lies"
    (tmp_path / "here/README.md").write_text("how it was made")
    (tmp_path / "here/.git").mkdir()
    (tmp_path / "here/.git/HEAD").write_text("x")
    assert of(text={"encoder": here}, device="cpu") == before
    for file, content in (("model.safetensors", b"1235"), ("1_Pooling/config.json", b"[]")):
        path = tmp_path / "there" / file
        old, time = path.read_bytes(), path.stat().st_mtime_ns
        path.write_bytes(content)
        assert changed(of(text={"encoder": there}, device="cpu"), before) == {"text"}
        path.write_bytes(old)
        assert path.stat().st_mtime_ns >= time
        assert of(text={"encoder": there}, device="cpu") == before


def test_precision_counts_for_checkpoints_only(tmp_path: Path) -> None:
    told = {"visual": {"encoder": checkpoint(tmp_path / "x")}, "device": "cpu"}
    assert changed(of(**told), of(**told, precision="bfloat16")) == {"visual"}


def test_the_sample_rate_counts_for_sound_only() -> None:
    # a checkpoint brings its own rate, but not every extractor tells one
    slow = of(audio={"sample_rate": 8_000})
    assert changed(slow, of(audio={"sample_rate": 16_000})) == {"audio"}


def test_a_hub_id_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    told = {"text": {"encoder": "some/model"}, "device": "cpu"}
    absent = of(**told)
    reference = tmp_path / "models--some--model/refs/main"
    reference.parent.mkdir(parents=True)
    digests = [absent["text"]]
    for commit in ("a" * 40, "b" * 40):
        reference.write_text(commit)
        snapshot = reference.parents[1] / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        assert changed(of(**told), absent) == {"text"}
        digests.append(of(**told)["text"])
    assert len(set(digests)) == 3


def test_code_counts_where_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in module.ROOM.rglob("*.py"):
        copy = tmp_path / path.relative_to(module.ROOM)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "ROOM", tmp_path)
    name = checkpoint(tmp_path / "checkpoint")
    signal = {"device": "cpu"}
    every = {"device": "cpu", **{m: {"encoder": name} for m in ("visual", "audio", "text")}}
    before = of(**signal), of(**every)
    touched = {
        "signal_text.py": ({"text"}, set()),
        "frames.py": ({"visual"}, {"visual"}),
        "sound.py": ({"audio"}, {"audio"}),
        "media.py": ({"visual", "audio"}, {"visual", "audio"}),
        "signal_visual.py": ({"visual"}, set()),
        "pretrained/text.py": (set(), {"text"}),
        "pretrained/pooling.py": (set(), {"text"}),
        "pretrained/visual.py": (set(), {"visual"}),
        "pretrained/checkpoint.py": (set(), {"visual", "audio", "text"}),
        "store.py": (set(), set()),
        "cache.py": (set(), set()),
    }
    for file, expected in touched.items():
        path = tmp_path / file
        old = path.read_text()
        path.write_text(old + "# changed\n")
        after = of(**signal), of(**every)
        found = tuple(changed(a, b) for a, b in zip(before, after, strict=True))
        assert found == expected, file
        path.write_text(old)


def test_asking_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    name = checkpoint(tmp_path / "x")
    code = f"""
import sys
from m3tr.features.fingerprints import fingerprints
from m3tr.features.settings import FeatureSettings
fingerprints(FeatureSettings())
told = {{"visual": {{"encoder": {name!r}}}, "text": {{"encoder": "some/model"}}, "device": "cpu"}}
fingerprints(FeatureSettings.model_validate(told))
print(*[m for m in ("torch", "transformers", "polars") if m in sys.modules], "done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["done"]
