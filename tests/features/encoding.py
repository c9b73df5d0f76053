"""Encoders of tiny checkpoints, what they are given, and transformers used directly."""

from typing import Any

import numpy as np

from m3tr.features.encoders import MediaEncoder, build
from m3tr.features.settings import FeatureSettings

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 255, (40, 56, 3), np.uint8) for _ in range(5)]
# words of every tiny vocabulary; some are longer than the tiny checkpoints read
TEXTS = ["the cat", "dog", "a dog running and the cats", "cats " * 20, "run", "the dogs running"]


def settings(**options: Any) -> FeatureSettings:
    """`visual`, `audio`, `text` are folders; the rest are settings."""
    told: dict[str, Any] = {"batch_size": 3, "device": "cpu", "audio": {}, "visual": {}}
    for key, value in options.items():
        told[key] = {"encoder": value} if key in ("visual", "audio", "text") else value
    told["visual"] = {"frames": 3, **told["visual"]}
    told["audio"] = {"segments": 2, **told["audio"]}
    return FeatureSettings.model_validate(told)


def visual(name: str, **options: Any) -> MediaEncoder:
    encoder = build(settings(visual=name, **options), audio=False, text=False).visual
    assert encoder is not None
    return encoder


def audio(name: str, **options: Any) -> tuple[MediaEncoder, int]:
    encoders = build(settings(audio=name, **options), visual=False, text=False)
    assert encoders.audio is not None
    return encoders.audio, encoders.wanted.sample_rate


def texts(name: str, said: list[str], **options: Any) -> np.ndarray:
    encoder = build(settings(text=name, **options), visual=False, audio=False).text
    assert encoder is not None
    return encoder.encode_texts(said)


def network(encoder: MediaEncoder, raw: list[Any]) -> list[np.ndarray]:
    assert encoder.network is not None
    return encoder.network([encoder.prepare(item) for item in raw])


def direct(name: str, kind: str) -> tuple[Any, Any]:
    """The model and what prepares its input, by transformers alone."""
    import transformers as tf

    auto = getattr(tf, kind)
    options = {"backend": "pil"} if kind == "AutoImageProcessor" else {}
    return tf.AutoModel.from_pretrained(name).eval(), auto.from_pretrained(name, **options)


def sound(seconds: float, rate: int) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(int(seconds * 1000)).normal(size=t.size)
    return (0.3 * np.sin(2 * np.pi * 440 * t) + 0.05 * noise).astype(np.float32)
