"""Checkpoints in company, in half precision, on a GPU, in workers, by other linear layers."""

import pickle
import subprocess
import sys
from pathlib import Path

import mediafiles
import numpy as np
import polars as pl
import pytest
from encoding import CLOSE, PICTURES, TEXTS, audio, network, settings, sound, texts, visual

from m3tr.features.encoders import build
from m3tr.features.extract import extract


def test_only_the_asked_tower_is_held(checkpoints: dict[str, str]) -> None:
    encoder = visual(checkpoints["clip"])
    held = dict(encoder.network.checkpoint.model.named_parameters())  # type: ignore[union-attr]
    assert any(key.startswith("vision_model") for key in held)
    assert not any(key.startswith("text_model") for key in held)


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_a_video_does_not_depend_on_its_company(checkpoints: dict[str, str], batch: int) -> None:
    counts = [3, 1, 5, 2]
    videos = [PICTURES[:n] for n in counts]
    for family in ("vit", "clip", "videomae"):
        encoder = visual(checkpoints[family], batch_size=batch)
        for tokens, video in zip(network(encoder, videos), videos, strict=True):
            np.testing.assert_allclose(tokens, network(encoder, [video])[0], **CLOSE)
    # unequal lengths; two videos of the same length share a pass
    for family in ("wav2vec2", "hubert", "ast", "clap_fused"):
        encoder, rate = audio(checkpoints[family], batch_size=batch)
        waves = [sound(s, rate) for s in (1.0, 0.3, 1.4, 0.1, 1.0)]
        together = network(encoder, waves)
        assert [len(tokens) for tokens in together] == [2, 1, 2, 1, 2]
        for tokens, wave in zip(together, waves, strict=True):
            np.testing.assert_allclose(tokens, network(encoder, [wave])[0], **CLOSE)


def test_texts_do_not_depend_on_their_order(checkpoints: dict[str, str]) -> None:
    said = TEXTS * 3
    order = np.random.default_rng(1).permutation(len(said))
    for family in ("bert", "st_mean", "clip", "siglip", "xlmr"):
        vectors = texts(checkpoints[family], said)
        shuffled = texts(checkpoints[family], [said[i] for i in order], batch_size=5)
        np.testing.assert_allclose(shuffled, vectors[order], **CLOSE)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / norms).min())


def test_half_precision_is_close(checkpoints: dict[str, str]) -> None:
    for precision in ("bfloat16", "float16"):
        for family in ("vit", "clip", "videomae", "resnet"):
            full, half = (
                network(visual(checkpoints[family], precision=p), [PICTURES])[0]
                for p in ("float32", precision)
            )
            assert half.dtype == np.float32 and cosine(full, half) > 0.99
            assert not np.array_equal(full, half)
    wave = sound(1.0, 48_000)
    for family in ("clap", "wav2vec2"):
        full, half = (
            network(audio(checkpoints[family], precision=p)[0], [wave])[0]
            for p in ("float32", "bfloat16")
        )
        assert cosine(full, half) > 0.99
    full, half = (
        texts(checkpoints["st_mean"], TEXTS, precision=p) for p in ("float32", "bfloat16")
    )
    assert cosine(full, half) > 0.99


def test_cuda_agrees_with_the_processor(checkpoints: dict[str, str]) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    wave = sound(1.0, 48_000)
    for device, precision, least in (("cuda", "float32", 0.9999), ("auto", "auto", 0.99)):
        options = {"device": device, "precision": precision}
        for family in ("vit", "clip", "videomae", "resnet"):
            here = network(visual(checkpoints[family]), [PICTURES])[0]
            there = network(visual(checkpoints[family], **options), [PICTURES])[0]
            assert cosine(here, there) > least
        here = network(audio(checkpoints["clap_fused"])[0], [wave])[0]
        there = network(audio(checkpoints["clap_fused"], **options)[0], [wave])[0]
        assert cosine(here, there) > least
        for family in ("st_dense", "st_last", "siglip"):
            here, there = (
                texts(checkpoints[family], TEXTS),
                texts(checkpoints[family], TEXTS, **options),
            )
            assert cosine(here, there) > least


WORKER = """
import pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
    parts = pickle.load(file)
np.savez(sys.argv[2], *[prepare(raw) for prepare, raw in parts])
print("torch" in sys.modules)
"""


@pytest.mark.parametrize("families, needs_torch", [
    (("vit", "wav2vec2"), False), (("videomae", "signal"), False), (("clip", "ast"), True),
])  # fmt: skip
def test_a_worker_prepares_the_same_without_torch(
    checkpoints: dict[str, str], tmp_path: Path, families: tuple[str, str], needs_torch: bool
) -> None:
    folders = [checkpoints.get(family, "signal") for family in families]
    encoders = build(settings(visual=folders[0], audio=folders[1]), text=False)
    assert encoders.visual is not None and encoders.audio is not None
    parts = [(encoders.visual.prepare, PICTURES), (encoders.audio.prepare, sound(1.0, 16_000))]
    (tmp_path / "parts").write_bytes(pickle.dumps(parts))
    command = [sys.executable, "-c", WORKER, str(tmp_path / "parts"), str(tmp_path / "a.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(needs_torch)] and "PyTorch" not in done.stderr
    with np.load(tmp_path / "a.npz") as file:
        for found, (prepare, raw) in zip(file.values(), parts, strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, prepare(raw), atol=1e-6)


def test_linear_layers_by_onednn_agree() -> None:
    import torch

    from m3tr.features.pretrained import onednn

    if not onednn._works():
        pytest.skip("this torch has no such operator")
    torch.manual_seed(0)
    for bias in (True, False):
        layer = torch.nn.Linear(24, 12, bias=bias)
        x = torch.randn(2, 5, 24)
        expected = layer(x)
        layer.__class__ = onednn.OneDNNLinear
        with torch.inference_mode():
            np.testing.assert_allclose(layer(x), expected.detach(), **CLOSE)


def test_onednn_is_taken_on_amd_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    from m3tr.features.pretrained import onednn

    for vendor, taken in (("AuthenticAMD", onednn._works()), ("GenuineIntel", False)):
        (tmp_path / vendor).write_text(f"vendor_id : {vendor}\n")
        monkeypatch.setattr(onednn, "CPUINFO", tmp_path / vendor)
        onednn._amd.cache_clear()
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4).bfloat16())
        kinds = [type(layer) is onednn.OneDNNLinear for layer in onednn.quicken(model)]
        assert kinds == [taken, False]
    onednn._amd.cache_clear()


def test_an_extraction_with_checkpoints(checkpoints: dict[str, str], tmp_path: Path) -> None:
    mediafiles.write(tmp_path / "a.mp4", PICTURES + PICTURES, mediafiles.tone(300, 1.5))
    mediafiles.write(tmp_path / "b.mp4", PICTURES[:2])
    mediafiles.write(tmp_path / "c.wav", sound=mediafiles.tone(700, 0.1), sound_codec="pcm_s16le")
    titles, media = ["the cat running", None, "dogs " * 60], ["a.mp4", "b.mp4", "c.wav"]
    videos = pl.DataFrame({"video_id": ["a", "b", "c"], "media": media, "title": titles})
    chosen = settings(
        visual=checkpoints["clip"], audio=checkpoints["wav2vec2"], text=checkpoints["st_mean"],
        workers=1,
    )  # fmt: skip
    features, quarantine, _ = extract(videos, tmp_path, chosen, cache_dir=tmp_path / "cache")
    assert len(quarantine) == 0
    assert features.mask["visual"].sum(1).tolist() == [3, 2, 0]
    assert features.mask["audio"].sum(1).tolist() == [2, 0, 1]
    assert features.mask["text"].tolist() == [[True, False], [False, False], [True, False]]
    assert {m: shape[1] for m, shape in features.shapes.items()} == {
        "visual": 10, "audio": 16, "text": 16}  # fmt: skip
    again, _, report = extract(videos, tmp_path, chosen, cache_dir=tmp_path / "cache")
    assert report["media_from_cache"] == 3
    for m in features.tokens:
        np.testing.assert_array_equal(again.tokens[m], features.tokens[m])
