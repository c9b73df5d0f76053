"""Encoders from transformers checkpoints: a local folder or a hub id.

One video (or one batch of texts, in sorted order) goes through the network at a time: results do
not depend on which decoding worker was faster. Weights are frozen; the device is the GPU where
there is one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoTokenizer

from m3tr.errors import InputError
from m3tr.features.signal_audio import MIN_SEGMENT_SECONDS, cut

MAX_TEXT_TOKENS = 512


def _load(name: str, modality: str, preparer: Any) -> tuple[Any, Any, torch.device]:
    """The checkpoint's own preparation (processor, extractor or tokenizer), model and device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    key = f"features.{modality}.encoder"
    try:
        prepare = preparer.from_pretrained(name)
        model = AutoModel.from_pretrained(name)
    except Exception as error:  # the libraries raise OSError, ValueError, KeyError, TypeError, ...
        line = str(error).strip().splitlines()
        raise InputError(
            f"params.yaml: {key} '{name}' is not a usable {modality} checkpoint "
            f"({line[0][:160] if line else type(error).__name__}); give 'signal', a folder written "
            "by save_pretrained (model and its processor or tokenizer) or a hub id"
        ) from None
    return prepare, model.eval().to(device), device


def _run(model: Any, features: str, inputs: dict[str, Any]) -> Any:
    """The model's output; of a two-tower model (CLIP and kin) that of the asked tower."""
    tower: Callable[..., Any] | None = getattr(model, features, None)
    return tower(**inputs) if tower is not None else model(**inputs)


def _vectors(output: Any, mask: torch.Tensor | None = None) -> torch.Tensor:
    """(B, D): the projected vector of a two-tower model, else the mean of the last hidden state."""
    if isinstance(output, torch.Tensor):
        return output
    hidden = output.last_hidden_state
    if hidden.ndim == 4:  # convolutional: (B, D, h, w)
        return hidden.mean((2, 3))
    if mask is None:
        return hidden.mean(1)
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


def _array(vectors: torch.Tensor) -> np.ndarray:
    return vectors.float().cpu().numpy()


class PretrainedVisual:
    """Frames through a vision checkpoint (ViT, CLIP, ... : one token a frame; VideoMAE: one)."""

    def __init__(self, name: str) -> None:
        self.processor, self.model, self.device = _load(name, "visual", AutoImageProcessor)
        self.clip = getattr(self.model.config, "num_frames", None)

    @torch.inference_mode()
    def encode_frames(self, frames: list[np.ndarray]) -> np.ndarray:
        """Frames (h, w, 3) uint8 -> tokens (T, D) float32."""
        if self.clip:  # a video model reads a fixed number of frames: the nearest ones repeat
            picked = np.linspace(0, len(frames) - 1, self.clip).round().astype(int)
            frames = [frames[i] for i in picked]
            # one list a video; all frames in one size, as the processor stacks them
            pixels = self.processor([frames], return_tensors="pt")["pixel_values"]
            pixels = pixels.reshape(1, self.clip, *pixels.shape[-3:])
            return _array(_vectors(self.model(pixel_values=pixels.to(self.device))))
        inputs = self.processor(images=frames, return_tensors="pt").to(self.device)
        output = _run(self.model, "get_image_features", {"pixel_values": inputs["pixel_values"]})
        if hasattr(self.model, "get_image_features") and not isinstance(output, torch.Tensor):
            return _array(output.pooler_output)
        return _array(_vectors(output))


class PretrainedAudio:
    """Segments of the waveform through an audio checkpoint (AST, wav2vec 2.0, ...)."""

    def __init__(self, name: str, segments: int, sample_rate: int) -> None:
        self.extractor, self.model, self.device = _load(name, "audio", AutoFeatureExtractor)
        self.segments, self.sample_rate = segments, sample_rate
        wanted = getattr(self.extractor, "sampling_rate", sample_rate)
        if wanted != sample_rate:
            raise InputError(
                f"params.yaml: features.audio.sample_rate is {sample_rate} but '{name}' was "
                f"trained on {wanted} Hz; set it to {wanted}"
            )

    @torch.inference_mode()
    def encode_audio(self, wave: np.ndarray) -> np.ndarray:
        """Mono waveform (n,) -> tokens (T, D) float32."""
        parts = cut(wave, self.segments, self.sample_rate)
        short = int(MIN_SEGMENT_SECONDS * self.sample_rate)
        parts = [np.pad(part, (0, max(0, short - part.size))) for part in parts]
        inputs = self.extractor(parts, sampling_rate=self.sample_rate, return_tensors="pt")
        key = self.model.main_input_name
        output = self.model(**{key: inputs[key].to(self.device)})
        return _array(_vectors(output))


class PretrainedText:
    """Texts through a text checkpoint (BERT and kin): masked mean of the last hidden state."""

    def __init__(self, name: str, batch_size: int) -> None:
        self.tokenizer, self.model, self.device = _load(name, "text", AutoTokenizer)
        self.batch_size = batch_size
        positions = getattr(self.model.config, "max_position_embeddings", MAX_TEXT_TOKENS)
        self.length = min(self.tokenizer.model_max_length, positions, MAX_TEXT_TOKENS)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """N texts -> vectors (N, D) float32; what is beyond the longest input is cut off."""
        parts = []
        for start in range(0, len(texts), self.batch_size):
            inputs = self.tokenizer(
                list(texts[start : start + self.batch_size]),
                padding=True,
                truncation=True,
                max_length=self.length,
                return_tensors="pt",
            ).to(self.device)
            output = _run(self.model, "get_text_features", dict(inputs))
            if hasattr(self.model, "get_text_features") and not isinstance(output, torch.Tensor):
                parts.append(_array(output.pooler_output))
            else:
                parts.append(_array(_vectors(output, inputs["attention_mask"])))
        return np.concatenate(parts)
