"""Tokens of every family of checkpoints, against transformers used directly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoding import CLOSE, PICTURES, TEXTS, audio, direct, network, settings, sound, texts, visual

from m3tr.features.encoders import build


def frame_by_frame(name: str, frames: list[np.ndarray]) -> np.ndarray:
    import torch

    model, processor = direct(name, "AutoImageProcessor")
    rows = []
    with torch.no_grad():
        for frame in frames:
            inputs = processor(images=[frame], return_tensors="pt")
            if hasattr(model, "get_image_features"):
                rows.append(model.get_image_features(**inputs).pooler_output[0])
            else:
                hidden = model(**inputs).last_hidden_state[0]
                rows.append(hidden.mean(0) if hidden.ndim == 2 else hidden.mean((1, 2)))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("family", ["vit", "dinov2", "resnet", "clip", "siglip"])
def test_a_vision_token_a_frame(checkpoints: dict[str, str], family: str) -> None:
    encoder = visual(checkpoints[family])
    (tokens,) = network(encoder, [PICTURES])
    assert tokens.dtype == np.float32
    np.testing.assert_allclose(tokens, frame_by_frame(checkpoints[family], PICTURES), **CLOSE)


def test_the_decoder_is_asked_for_what_the_checkpoint_reads(checkpoints: dict[str, str]) -> None:
    both = build(settings(visual=checkpoints["clip"], audio=checkpoints["clap"]), text=False)
    assert (both.wanted.frames, both.wanted.sample_rate) == (3, 48_000)
    assert both.wanted.side == 1_920, "up to Full HD the processor sees frames as they are"
    clip = build(settings(visual=checkpoints["videomae"]), audio=False, text=False)
    assert (clip.wanted.frames, clip.wanted.sample_rate) == (4, 0) and clip.audio is None
    plain = build(settings(), visual=False)
    assert (plain.wanted.frames, plain.wanted.side, plain.wanted.sample_rate) == (0, 256, 16_000)
    assert plain.visual is None and plain.audio is not None and plain.audio.network is None


@pytest.mark.parametrize("shown", [1, 2, 4])
def test_a_video_network_gives_a_token_a_tubelet(checkpoints: dict[str, str], shown: int) -> None:
    import torch

    model, processor = direct(checkpoints["videomae"], "AutoImageProcessor")
    nearest = {1: [0, 0, 0, 0], 2: [0, 0, 1, 1], 4: [0, 1, 2, 3]}[shown]
    pixels = processor([[PICTURES[i] for i in nearest]], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        hidden = model(pixel_values=pixels.reshape(1, 4, 3, 32, 32)).last_hidden_state
    assert hidden.shape == (1, 2 * 16, 16), "two tubelets of two frames, 4 x 4 places"
    expected = torch.stack([hidden[0, :16].mean(0), hidden[0, 16:].mean(0)]).numpy()
    (tokens,) = network(visual(checkpoints["videomae"]), [PICTURES[:shown]])
    np.testing.assert_allclose(tokens, expected, **CLOSE)


def segment_by_segment(name: str, wave: np.ndarray, rate: int, segments: int) -> np.ndarray:
    import torch

    model, extractor = direct(name, "AutoFeatureExtractor")
    rows = []
    with torch.no_grad():
        for part in np.split(wave, segments):
            inputs = extractor(part, sampling_rate=rate, return_tensors="pt")
            if hasattr(model, "get_audio_features"):
                inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
                rows.append(model.get_audio_features(**inputs).pooler_output[0])
            elif model.config.model_type == "whisper":
                features = inputs["input_features"]
                rows.append(model.get_encoder()(features).last_hidden_state[0].mean(0))
            else:
                rows.append(model(**inputs).last_hidden_state[0].mean(0))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("family", ["ast", "wav2vec2", "hubert", "whisper", "clap", "clap_fused"])
def test_an_audio_token_a_segment(checkpoints: dict[str, str], family: str) -> None:
    encoder, rate = audio(checkpoints[family])
    wave = sound(1.5, rate)
    (tokens,) = network(encoder, [wave])
    expected = segment_by_segment(checkpoints[family], wave, rate, 2)
    assert tokens.dtype == np.float32
    np.testing.assert_allclose(tokens, expected, **CLOSE)


@pytest.mark.parametrize("family", ["clap", "clap_fused"])
def test_clap_hears_the_beginning_of_a_long_segment(
    checkpoints: dict[str, str], family: str
) -> None:
    encoder, rate = audio(checkpoints[family])
    wave = sound(6.0, rate)
    (tokens,) = network(encoder, [wave])
    np.testing.assert_array_equal(tokens, network(encoder, [wave])[0])
    heard = np.concatenate([wave[:rate], wave[3 * rate : 4 * rate]])  # it reads one second
    np.testing.assert_allclose(
        tokens, segment_by_segment(checkpoints[family], heard, rate, 2), **CLOSE
    )


def test_a_sound_too_short_for_a_network_is_filled_up(checkpoints: dict[str, str]) -> None:
    for family in ("wav2vec2", "clap", "ast"):
        encoder, _ = audio(checkpoints[family])
        (tokens,) = network(encoder, [np.full(5, 0.1, np.float32)])
        assert len(tokens) == 1 and np.isfinite(tokens).all()


def words(name: str, text: str, length: int) -> tuple[Any, Any]:
    """Hidden states (L, D) and input of one text, alone."""
    import torch

    model, tokenizer = direct(name, "AutoTokenizer")
    inputs = tokenizer([text], truncation=True, max_length=length, return_tensors="pt")
    if model.config.model_type == "t5":
        model = model.get_encoder()
    with torch.no_grad():
        return model(**inputs).last_hidden_state[0], inputs


# XLM-R has 14 positions and begins behind its padding, so it reads 12 tokens
@pytest.mark.parametrize("family, length", [("bert", 16), ("xlmr", 12), ("t5", 12)])
def test_a_text_is_the_mean_of_its_words(
    checkpoints: dict[str, str], family: str, length: int
) -> None:
    name = checkpoints[family]
    expected = [words(name, text, length)[0].mean(0).numpy() for text in TEXTS]
    np.testing.assert_allclose(texts(name, TEXTS), expected, **CLOSE)


def unit(vector: Any) -> Any:
    return vector / vector.norm()


POOLED: dict[str, Callable[[Any], Any]] = {
    "st_mean": lambda hidden: unit(hidden.mean(0)),
    "st_cls": lambda hidden: hidden[0],
    "st_max": lambda hidden: hidden.amax(0),
    "st_last": lambda hidden: hidden[-1],
}


@pytest.mark.parametrize("family", POOLED)
def test_a_sentence_encoder_is_pooled_as_its_folder_says(
    checkpoints: dict[str, str], family: str
) -> None:
    name = checkpoints[family]
    prompt = "query: " if family == "st_max" else ""
    expected = [POOLED[family](words(name, prompt + text, 6)[0]).numpy() for text in TEXTS]
    np.testing.assert_allclose(texts(name, TEXTS), expected, **CLOSE)


def test_a_sentence_encoder_may_end_in_a_dense_layer(checkpoints: dict[str, str]) -> None:
    import torch
    from safetensors.torch import load_file

    name = checkpoints["st_dense"]
    layer = load_file(Path(name) / "2_Dense/model.safetensors")
    hidden, _ = words(name, TEXTS[0], 6)
    linear = torch.nn.functional.linear(
        hidden.mean(0), layer["linear.weight"], layer["linear.bias"]
    )
    np.testing.assert_allclose(texts(name, TEXTS)[0], unit(torch.tanh(linear)).numpy(), **CLOSE)


def test_every_way_of_pooling_ignores_padding() -> None:
    import torch

    from m3tr.features.pretrained.pooling import FLAGS, Pooling

    hidden = torch.randn(1, 4, 6)
    padded = torch.cat([hidden, torch.full((1, 3, 6), 9.0)], 1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    for mode in FLAGS.values():
        pool = Pooling((mode,))
        np.testing.assert_allclose(pool(padded, mask), pool(hidden, mask[:, :4]), rtol=1e-6)
    weights = torch.arange(1.0, 5)[:, None]
    expected = (hidden[0] * weights).sum(0) / 10
    np.testing.assert_allclose(Pooling(("weightedmean",))(padded, mask)[0], expected, rtol=1e-5)
    assert Pooling(("mean", "cls"))(padded, mask).shape == (1, 12)


@pytest.mark.parametrize("family", ["clip", "clap", "siglip"])
def test_the_text_tower_of_two(checkpoints: dict[str, str], family: str) -> None:
    import torch

    model, tokenizer = direct(checkpoints[family], "AutoTokenizer")
    # SigLIP wants its texts filled up, and no mask
    options: dict[str, Any] = {"padding": "max_length"} if family == "siglip" else {}
    expected = []
    for text in TEXTS:
        inputs = tokenizer([text], truncation=True, max_length=12, return_tensors="pt", **options)
        if family == "siglip":
            inputs = {"input_ids": inputs["input_ids"]}
        with torch.no_grad():
            expected.append(model.get_text_features(**inputs).pooler_output[0].numpy())
    np.testing.assert_allclose(texts(checkpoints[family], TEXTS), expected, **CLOSE)
