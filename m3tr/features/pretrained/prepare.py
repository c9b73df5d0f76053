"""What a decoding worker does for a checkpoint: its own image processor or feature extractor.

The processor travels as its class and settings, not as a path: a worker reads no file of the
checkpoint, and may be on another machine. Its first use imports transformers, which with torch
takes 2.5 s and 360 MB a worker, and without it 0.9 s and 70 MB.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from m3tr.features.signal_audio import MIN_SEGMENT_SECONDS, cut


@dataclass(frozen=True)
class Processor:
    """An image processor or feature extractor of transformers, made where it is used.

    Attributes
    ----------
    module, kind : str
        Where its class is.
    settings : str
        JSON.
    torch : bool
        Whether the worker needs torch for it.
    """

    module: str
    kind: str
    settings: str
    torch: bool

    @classmethod
    def of(cls, processor: Any) -> "Processor":
        """The recipe of a loaded one."""
        kind = type(processor)
        return cls(kind.__module__, kind.__name__, processor.to_json_string(), _uses_torch(kind))

    def make(self) -> Any:
        """The processor; made once a process."""
        return _make(self)


def _uses_torch(kind: type) -> bool:
    for base in kind.__mro__:
        if base.__name__ == "TorchvisionBackend":
            return True
        # code of one model that imports torch at its top
        if ".models." in base.__module__ and hasattr(sys.modules[base.__module__], "torch"):
            return True
    return False


@lru_cache(maxsize=4)
def _make(recipe: Processor) -> Any:
    if recipe.torch or "transformers" in sys.modules or "torch" in sys.modules:
        module = importlib.import_module(recipe.module)
    else:
        with _torch_hidden():
            module = importlib.import_module(recipe.module)
    return getattr(module, recipe.kind).from_dict(json.loads(recipe.settings))


@contextmanager
def _torch_hidden() -> Iterator[None]:
    """transformers, imported in here, believes that there is no torch, and does not import it."""
    find = importlib.util.find_spec
    importlib.util.find_spec = (  # what transformers asks
        lambda name, package=None: None if name == "torch" else find(name, package)
    )
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # that torch is missing
    try:
        yield
    finally:
        importlib.util.find_spec = find


def together(visual: "PreparePixels", audio: "PrepareSound") -> tuple[Any, Any]:
    """Both, for use in one worker: if one needs torch, transformers must find it at once."""
    torch = visual.processor.torch or audio.processor.torch
    return replace(visual, processor=replace(visual.processor, torch=torch)), replace(
        audio, processor=replace(audio.processor, torch=torch)
    )


@dataclass(frozen=True)
class PreparePixels:
    """Frames of one video -> what a vision network reads.

    Attributes
    ----------
    processor : Processor
    clip : int
        Frames that a video network reads at a time; 0 = frame by frame.
    """

    processor: Processor
    clip: int = 0

    def __call__(self, frames: list[np.ndarray]) -> np.ndarray:
        """Frames (h, w, 3) uint8 -> (T, 3, H, W) float32, or (1, clip, 3, H, W)."""
        shown = frames
        if self.clip:  # the nearest ones repeat where the video shows fewer
            picked = np.linspace(0, len(frames) - 1, self.clip).round().astype(int)
            shown = [frames[i] for i in picked]
        # a frame 3 pixels high would be taken for channels first
        options = {"return_tensors": "np", "input_data_format": "channels_last"}
        pixels = self.processor.make()([shown] if self.clip else shown, **options)["pixel_values"]
        array = np.asarray(pixels, np.float32)
        return array.reshape(1, self.clip, *array.shape[-3:]) if self.clip else array


@dataclass(frozen=True)
class PrepareSound:
    """Waveform of one video -> what an audio network reads of each segment.

    Attributes
    ----------
    processor : Processor
    key : str
        The network's input.
    segments : int
        Equal parts of the sound at most.
    sample_rate : int
        Hz.
    longest : int
        Samples of a segment that are heard, from its beginning; 0 = all.
    """

    processor: Processor
    key: str
    segments: int
    sample_rate: int
    longest: int = 0

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Mono (n,) float32 -> (T, ...) float32; all segments have the same length."""
        parts = cut(wave, self.segments, self.sample_rate)
        shortest = int(MIN_SEGMENT_SECONDS * self.sample_rate)
        parts = [np.pad(part, (0, max(0, shortest - part.size))) for part in parts]
        if self.longest:  # CLAP would take a random excerpt of a longer one
            parts = [part[: self.longest] for part in parts]
        options = {"sampling_rate": self.sample_rate, "return_tensors": "np"}
        return np.asarray(self.processor.make()(parts, **options)[self.key], np.float32)
