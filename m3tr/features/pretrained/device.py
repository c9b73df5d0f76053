"""Where checkpoints run and in what precision, from the settings and what the machine has."""

from m3tr.errors import InputError
from m3tr.features.settings import FeatureSettings


def device(settings: FeatureSettings) -> str:
    """ "cuda" or "cpu".

    Raises
    ------
    InputError
        Where `features.device` is "cuda" and there is none.
    """
    if settings.device == "cpu":
        return "cpu"  # torch takes a second to import and is not needed for this answer
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if settings.device == "cuda":
        raise InputError(
            "params.yaml: features.device is 'cuda' but torch sees no CUDA device here; "
            "set it to 'auto' or 'cpu', or install the torch build of this machine's GPU"
        )
    return "cpu"


def precision(settings: FeatureSettings) -> str:
    """ "float32", "bfloat16" or "float16"; `auto` is float16 on a GPU and float32 elsewhere."""
    if settings.precision != "auto":
        return settings.precision
    return "float16" if device(settings) == "cuda" else "float32"
