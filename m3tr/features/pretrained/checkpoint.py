"""Loading a checkpoint: the model, and what prepares its input.

Only safetensors are read (a pickled checkpoint can run code), and code that comes with a checkpoint
is never run. Whatever is wrong becomes one sentence that names the setting.
"""

import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import is_torch_available
from transformers.utils import logging as told

from m3tr.errors import InputError
from m3tr.features.pretrained.device import device, precision
from m3tr.features.pretrained.onednn import quicken
from m3tr.features.settings import FeatureSettings

PREPARERS: dict[str, tuple[Any, dict[str, Any]]] = {
    # Pillow wherever it runs: torchvision, where installed, resizes to other numbers
    "visual": (AutoImageProcessor, {"backend": "pil"}),
    "audio": (AutoFeatureExtractor, {}),
    "text": (AutoTokenizer, {}),
}
PREPARER = {
    "visual": "an image processor",
    "audio": "a feature extractor",
    "text": "a tokenizer",
}
INPUTS = {
    "visual": {"pixel_values"},
    "audio": {"input_values", "input_features"},
    "text": {"input_ids"},
}
# of a two-tower model: the method that asks a tower, and the tower
TOWERS = {
    "visual": ("get_image_features", "vision_model"),
    "audio": ("get_audio_features", "audio_model"),
    "text": ("get_text_features", "text_model"),
}
LAYER = re.compile(r"(^|\.)(layers?|blocks?|stages|h)\.\d+\.")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint of one modality.

    Attributes
    ----------
    preparer
        Its image processor, feature extractor or tokenizer.
    model
        Frozen, on `device`, in `dtype`; of a two-tower model only the asked tower is kept.
    two_towers : bool
        Whether the tower is asked by `get_image_features` and kin.
    """

    name: str
    modality: str
    preparer: Any
    model: Any
    two_towers: bool
    device: torch.device
    dtype: torch.dtype

    def tensor(self, rows: np.ndarray) -> torch.Tensor:
        """Prepared rows on the device; numbers with a fraction in the model's precision."""
        moved = torch.from_numpy(rows).to(self.device, non_blocking=True)
        return moved.to(self.dtype) if moved.is_floating_point() else moved

    def ask(self, **inputs: torch.Tensor) -> Any:
        """The model's output, or that of its tower.

        Raises
        ------
        InputError
            Where a pass does not fit the GPU's memory.
        """
        method = getattr(self.model, TOWERS[self.modality][0]) if self.two_towers else self.model
        # oneDNN's bfloat16 convolutions over time go wrong on processors with AMX
        wrong = (self.modality, self.device.type, self.dtype) == ("audio", "cpu", torch.bfloat16)
        try:
            with torch.backends.mkldnn.flags(enabled=False) if wrong else nullcontext():
                return method(**inputs)
        except torch.OutOfMemoryError:
            raise InputError(
                f"params.yaml: a pass of features.{self.modality}.encoder '{self.name}' does not "
                "fit the GPU's memory; lower features.batch_size"
            ) from None

    def array(self, vectors: torch.Tensor) -> np.ndarray:
        """Vectors as float32 on the host.

        Raises
        ------
        InputError
            Where they overflow the precision.
        """
        result = vectors.float().cpu().numpy()
        if not np.isfinite(result).all():
            raise InputError(
                f"params.yaml: features.{self.modality}.encoder '{self.name}' gives infinite or "
                f"undefined numbers in {str(self.dtype).removeprefix('torch.')}; set "
                "features.precision to bfloat16 or float32"
            )
        return result


def load(name: str, modality: str, settings: FeatureSettings) -> Checkpoint:
    """Load the checkpoint of a modality.

    Parameters
    ----------
    name : str
        A folder written by `save_pretrained`, or a hub id.
    modality : str
        "visual", "audio" or "text".
    settings : FeatureSettings
        `device` and `precision` are read.

    Raises
    ------
    InputError
        Not found, of another modality, without its processor or tokenizer, or only pickled.
    """
    if not is_torch_available():  # a decoding worker imported transformers without torch
        raise RuntimeError("build the encoders before preparing anything in this process")
    where, dtype = torch.device(device(settings)), getattr(torch, precision(settings))
    if _looks_like_a_folder(name):
        raise refused(name, modality, "there is no such folder, seen from where m3tr runs")
    preparer = _preparer(name, modality)
    try:
        with _quiet():
            model, info = AutoModel.from_pretrained(
                name,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # the libraries raise OSError, ValueError, KeyError, TypeError, ...
        raise refused(name, modality, _pickled(name) or short(error)) from None
    two_towers = hasattr(model, TOWERS[modality][0])
    if not two_towers and model.main_input_name not in INPUTS[modality]:
        raise refused(name, modality, f"{type(model).__name__} reads {model.main_input_name}")
    for method, tower in TOWERS.values():
        if two_towers and method != TOWERS[modality][0] and hasattr(model, tower):
            setattr(model, tower, None)  # its weights are not held
    missing = sorted(key for key in info["missing_keys"] if LAYER.search(key))
    if two_towers:
        missing = [key for key in missing if key.startswith(TOWERS[modality][1])]
    if missing:  # they would be random numbers
        raise refused(name, modality, f"{len(missing)} weights are missing, such as {missing[0]}")
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    model = quicken(model.eval().requires_grad_(False).to(where))
    return Checkpoint(name, modality, preparer, model, two_towers, where, dtype)


def _preparer(name: str, modality: str) -> Any:
    kind, options = PREPARERS[modality]
    lacks = f"it has no usable {PREPARER[modality].split(' ', 1)[1]}"
    try:
        with _quiet():
            preparer = kind.from_pretrained(name, trust_remote_code=False, **options)
    except Exception as error:
        reason = f"{lacks}: {short(error)}" if Path(name).is_dir() else short(error)
        raise refused(name, modality, reason) from None
    if modality == "text":
        # where the files are missing, the library makes an empty tokenizer and says nothing
        words = set(preparer.get_vocab()) - set(preparer.all_special_tokens)
        if len(words) <= 1:
            raise refused(name, modality, f"{lacks}: its vocabulary is empty")
    return preparer


def refused(name: str, modality: str, reason: str) -> InputError:
    """The one sentence about a checkpoint that cannot be used."""
    return InputError(
        f"params.yaml: features.{modality}.encoder '{name}' is not a usable {modality} checkpoint "
        f"({reason}); give 'signal', a folder written by save_pretrained (model and "
        f"{PREPARER[modality]}) or a hub id that is in the cache or can be fetched"
    )


def short(error: BaseException) -> str:
    """The first sentence of a library's error."""
    lines = str(error).strip().splitlines()
    first = lines[0].split(". ")[0] if lines else type(error).__name__
    return first[:160].rstrip(".: ")


def _looks_like_a_folder(name: str) -> bool:
    """Whether the name is a path that leads nowhere, and not a hub id."""
    path = Path(name)
    return not path.is_dir() and (path.is_absolute() or name.startswith(".") or len(path.parts) > 2)


def _pickled(name: str) -> str:
    folder = Path(name)
    if folder.is_dir() and any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        return "its weights are pickled (.bin), which can run code; save it as .safetensors"
    return ""


class _quiet:  # noqa: N801
    """No advice and no progress bars of the library on the user's screen."""

    def __enter__(self) -> None:
        self.level = told.get_verbosity()
        self.bars = told.is_progress_bar_enabled()
        told.set_verbosity_error()
        told.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        told.set_verbosity(self.level)
        if self.bars:
            told.enable_progress_bar()
