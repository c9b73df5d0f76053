"""From the vectors of a text's words to one vector, as the checkpoint's own files say.

A sentence-transformers folder lists its steps in `modules.json`: the network, how it is pooled,
perhaps a dense layer, perhaps normalisation. A checkpoint without it is averaged over the words.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import cached_file

from m3tr.errors import InputError
from m3tr.features.pretrained.checkpoint import refused, short

Step = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS: dict[str, Step] = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": nn.functional.gelu,
}
FLAGS = {  # in the order in which several are put side by side
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class Pooling:
    """Hidden states (B, L, D) and mask (B, L) -> vectors (B, D').

    Attributes
    ----------
    modes : tuple of str
        Of "mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean"; several are
        put side by side.
    steps : tuple of callable
        What follows: dense layers, normalisation.
    length : int or None
        Tokens at most.
    prompt : str
        Put before every text.
    """

    modes: tuple[str, ...] = ("mean",)
    steps: tuple[Step, ...] = ()
    length: int | None = None
    prompt: str = ""

    def __call__(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = hidden.float()
        vectors = torch.cat([_pool(hidden, mask[..., None].float(), m) for m in self.modes], -1)
        for step in self.steps:
            vectors = step(vectors)
        return vectors


def _pool(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """One mode; mask (B, L, 1), texts begin at the left."""
    words = mask.sum(1).clamp(min=1)
    if mode == "cls":
        return hidden[:, 0]
    if mode == "max":
        return hidden.masked_fill(mask == 0, -torch.inf).amax(1)
    if mode == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), words[:, 0].long() - 1]
    if mode == "weightedmean":
        mask = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)[:, None]
        words = mask.sum(1)
    elif mode == "mean_sqrt_len_tokens":
        words = words.sqrt()
    return (hidden * mask).sum(1) / words


def read(name: str) -> Pooling:
    """The pooling of a checkpoint (folder or hub id).

    Raises
    ------
    InputError
        Where its steps are of a kind that is not known, or their files are damaged.
    """
    try:
        return _read(name)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = "modules.json, or a file of its steps, is not as sentence-transformers writes it"
        raise refused(name, "text", f"{reason}: {short(error)}") from None


def _read(name: str) -> Pooling:
    modules = _json(name, "modules.json")
    if not modules:
        return Pooling()
    modes: tuple[str, ...] = ("mean",)
    steps: list[Step] = []
    length: int | None = None
    for module in modules:
        kind, folder = module["type"].rsplit(".", 1)[-1], module.get("path", "")
        if kind == "Transformer":
            length = (_json(name, "sentence_bert_config.json") or {}).get("max_seq_length")
            length = None if length is None else int(length)
        elif kind == "Pooling":
            modes = _modes(name, _json(name, f"{folder}/config.json") or {})
        elif kind == "Normalize":
            steps.append(lambda vectors: nn.functional.normalize(vectors, dim=-1))
        elif kind == "Dense":
            steps.append(_dense(name, folder))
        elif kind != "Dropout":
            raise refused(name, "text", f"its modules.json asks for {kind}, which is not known")
    told = _json(name, "config_sentence_transformers.json") or {}
    prompt = (told.get("prompts") or {}).get(told.get("default_prompt_name") or "", "")
    return Pooling(modes, tuple(steps), length, str(prompt or ""))


def _modes(name: str, config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode")  # the newer way
    if named is None:
        modes = tuple(mode for flag, mode in FLAGS.items() if config.get(flag))
    else:
        modes = (named,) if isinstance(named, str) else tuple(named)
    for mode in modes:
        if mode not in FLAGS.values():
            raise refused(name, "text", f"its pooling '{mode}' is not known")
    return modes or ("mean",)


def _dense(name: str, folder: str) -> Step:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights, config = (
        _file(name, f"{folder}/model.safetensors"),
        _json(name, f"{folder}/config.json"),
    )
    kind = (config or {}).get("activation_function", "").rsplit(".", 1)[-1]
    if weights is None or kind not in ACTIVATIONS:
        reason = f"{folder} has no model.safetensors, or its activation '{kind}' is not known"
        raise refused(name, "text", reason)
    try:
        parts = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise refused(
            name, "text", f"{folder}/model.safetensors is damaged: {short(error)}"
        ) from None
    if "linear.weight" not in parts:
        raise refused(name, "text", f"{folder}/model.safetensors has no linear.weight")
    activate = ACTIVATIONS[kind]
    matrix, bias = parts["linear.weight"].float(), parts.get("linear.bias")

    def dense(vectors: torch.Tensor) -> torch.Tensor:
        shift = None if bias is None else bias.float().to(vectors.device)
        return activate(nn.functional.linear(vectors, matrix.to(vectors.device), shift))

    return dense


def _file(name: str, path: str) -> Path | None:
    try:
        found = cached_file(
            name,
            path,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
    except OSError:
        found = None
    return Path(found) if found else None


def _json(name: str, path: str) -> Any:
    file = _file(name, path)
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file else None
    except (OSError, ValueError) as error:
        raise refused(name, "text", f"{path} is damaged: {short(error)}") from None
