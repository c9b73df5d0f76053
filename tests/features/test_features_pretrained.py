"""transformers checkpoints through the real loading code, on tiny ones made here."""

from pathlib import Path

import mediafiles
import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.features.encoders import fingerprint
from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of tiny checkpoints, each with its processor, extractor or tokenizer."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("checkpoints")

    def keep(name: str, *parts: object) -> None:
        for part in parts:
            part.save_pretrained(root / name)  # type: ignore[attr-defined]

    size = {"height": 32, "width": 32}
    keep("vit", tf.ViTModel(tf.ViTConfig(**SMALL, image_size=32, patch_size=8)),
         tf.ViTImageProcessor(size=size))  # fmt: skip
    tower = tf.CLIPVisionConfig(**SMALL, image_size=32, patch_size=8, projection_dim=10)
    words = tf.CLIPTextConfig(**SMALL, vocab_size=60, max_position_embeddings=32, projection_dim=10)
    clip = tf.CLIPConfig(
        text_config=words.to_dict(), vision_config=tower.to_dict(), projection_dim=10
    )
    keep("clip", tf.CLIPModel(clip),
         tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size))  # fmt: skip
    keep("videomae", tf.VideoMAEModel(
             tf.VideoMAEConfig(**SMALL, image_size=32, patch_size=8, num_frames=4)),
         tf.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=size))  # fmt: skip
    keep("ast", tf.ASTModel(tf.ASTConfig(**SMALL, max_length=64, num_mel_bins=16)),
         tf.ASTFeatureExtractor(max_length=64, num_mel_bins=16))  # fmt: skip
    wav = tf.Wav2Vec2Config(**SMALL, conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 8),
                            num_feat_extract_layers=2, num_conv_pos_embeddings=4,
                            num_conv_pos_embedding_groups=2)  # fmt: skip
    keep("wav2vec2", tf.Wav2Vec2Model(wav), tf.Wav2Vec2FeatureExtractor())
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "cat",
        "dog",
        "run",
        "##ning",
        "the",
        "##s",
    ]
    (root / "vocab.txt").write_text("\n".join(vocabulary))
    keep("bert", tf.BertModel(
             tf.BertConfig(**SMALL, vocab_size=len(vocabulary), max_position_embeddings=16)),
         tf.BertTokenizer(str(root / "vocab.txt")))  # fmt: skip
    return {path.name: str(path) for path in root.iterdir() if path.is_dir()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (40, 56, 3), np.uint8) for _ in range(8)]
    mediafiles.write(data / "a.mp4", frames, mediafiles.tone(300, 1.5))
    mediafiles.write(data / "b.mp4", frames[:2])
    mediafiles.write(data / "c.wav", sound=mediafiles.tone(700, 0.1), sound_codec="pcm_s16le")
    titles = ["the cat running", None, "dogs " * 60]
    return data, pl.DataFrame(
        {"video_id": ["a", "b", "c"], "media": ["a.mp4", "b.mp4", "c.wav"], "title": titles}
    )


def settings(
    visual: str = "signal", audio: str = "signal", text: str = "signal"
) -> FeatureSettings:
    return FeatureSettings.model_validate({
        "visual": {"encoder": visual, "frames": 3}, "audio": {"encoder": audio, "segments": 2},
        "text": {"encoder": text}, "workers": 1,
    })  # fmt: skip


@pytest.mark.parametrize("visual, audio, tokens, width", [
    ("vit", "ast", 3, 16), ("clip", "wav2vec2", 3, 10), ("videomae", "signal", 1, 16),
])  # fmt: skip
def test_media_checkpoints(
    checkpoints: dict[str, str], world: tuple[Path, pl.DataFrame], tmp_path: Path,
    visual: str, audio: str, tokens: int, width: int,
) -> None:  # fmt: skip
    data, videos = world
    chosen = settings(checkpoints[visual], checkpoints.get(audio, "signal"), checkpoints["bert"])
    features, quarantine, _ = extract(videos, data, None, chosen, cache_dir=tmp_path)
    assert len(quarantine) == 0
    assert features.mask["visual"].sum(1).tolist() == [tokens, min(tokens, 2), 0]
    assert features.tokens["visual"].shape[2] == width
    assert features.mask["audio"].sum(1).tolist() == [2, 0, 1]
    assert features.tokens["audio"].shape[2] == (88 if audio == "signal" else 16)
    assert features.mask["text"].tolist() == [[True, False], [False, False], [True, False]]
    again, _, report = extract(videos, data, None, chosen, cache_dir=tmp_path)
    assert report["media_from_cache"] == 3
    fresh, _, _ = extract(videos, data, None, chosen)
    for m in features.tokens:
        assert np.isfinite(features.tokens[m]).all()
        np.testing.assert_array_equal(again.tokens[m], features.tokens[m])
        np.testing.assert_array_equal(fresh.tokens[m], features.tokens[m])


def test_a_vision_token_is_the_mean_hidden_state(checkpoints: dict[str, str]) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from m3tr.features.pretrained import PretrainedVisual

    frame = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
    processor = AutoImageProcessor.from_pretrained(checkpoints["vit"])
    model = AutoModel.from_pretrained(checkpoints["vit"]).eval()
    with torch.no_grad():
        hidden = model(**processor(images=[frame], return_tensors="pt")).last_hidden_state
    tokens = PretrainedVisual(checkpoints["vit"]).encode_frames([frame])
    np.testing.assert_allclose(tokens, hidden.mean(1).numpy(), atol=1e-6)


def test_text_pooling_ignores_padding(checkpoints: dict[str, str]) -> None:
    from m3tr.features.pretrained import PretrainedText

    encoder = PretrainedText(checkpoints["bert"], 4)
    alone = encoder.encode_texts(["the cat"])
    padded = encoder.encode_texts(["the cat", "the dogs running the cats running"])
    np.testing.assert_allclose(alone[0], padded[0], atol=1e-5)
    assert encoder.encode_texts(["cat"] * 9).shape == (9, 16)


@pytest.mark.parametrize("modality", ["visual", "audio", "text"])
@pytest.mark.parametrize("name", ["no/such-checkpoint", "./nowhere", "???"])
def test_a_wrong_name_is_one_sentence(
    world: tuple[Path, pl.DataFrame], modality: str, name: str
) -> None:
    data, videos = world
    with pytest.raises(InputError, match=f"features.{modality}.encoder") as caught:
        extract(videos, data, None, settings(**{modality: name}))
    assert "\n" not in str(caught.value) and "signal" in str(caught.value)


def test_a_checkpoint_of_another_modality_is_refused(
    checkpoints: dict[str, str], world: tuple[Path, pl.DataFrame]
) -> None:
    data, videos = world
    with pytest.raises(InputError, match="features.visual.encoder"):
        extract(videos, data, None, settings(visual=checkpoints["bert"]))
    slow = FeatureSettings.model_validate(
        {"audio": {"encoder": checkpoints["wav2vec2"], "sample_rate": 22_050}}
    )
    with pytest.raises(InputError, match="16000 Hz"):
        extract(videos, data, None, slow)


def test_an_unused_checkpoint_is_not_loaded() -> None:
    videos = pl.DataFrame({"video_id": ["a"], "title": ["x"]})
    features, _, _ = extract(videos, None, None, settings(visual="no/such-checkpoint"))
    assert list(features.tokens) == ["text"]


def test_a_new_checkpoint_in_the_same_folder_is_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = fingerprint(settings(visual=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert fingerprint(settings(visual=str(tmp_path))) != before
