"""What decides the tokens of a modality, as one digest: the key of everything that is cached.

Cheap, and without transformers: it is asked before it is known whether anything must be computed.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from m3tr.features.settings import FeatureSettings

SIGNAL = "signal"
ROOM = Path(__file__).parent
# the code behind the tokens of each modality: changed code must not be answered from an old cache
DECODING = {
    "visual": ["encoders", "media", "survey", "packets", "frames", "pictures", "stills"],
    "audio": ["encoders", "media", "survey", "packets", "sound"],
    "text": [],
}
PRETRAINED = ["checkpoint", "device", "onednn"]
MEDIA = [*PRETRAINED, "passes", "prepare"]
CHECKPOINT = {
    "visual": [*MEDIA, "visual"],
    "audio": [*MEDIA, "audio"],
    "text": [*PRETRAINED, "pooling", "text"],
}
# what of the settings changes the tokens
TOLD = {
    "visual": {"frames"},
    "audio": {"segments", "max_seconds", "sample_rate"},
    "text": {"max_characters"},
}
NEVER_READ = {".bin", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".md"}


def fingerprints(
    settings: FeatureSettings, modalities: Iterable[str] = ("visual", "audio", "text")
) -> dict[str, str]:
    """A hex digest of each modality: encoder, its settings and files, precision, our code.

    Independent of where a checkpoint's folder is, of workers, engine, batch size and limits. A hub
    id counts by its commit, which is asked of the hub unless HF_HUB_OFFLINE is set.

    Raises
    ------
    InputError
        Where `features.device` is "cuda", a checkpoint is used, and there is none.
    """
    return {m: _fingerprint(m, settings) for m in modalities}


def _fingerprint(modality: str, settings: FeatureSettings) -> str:
    chosen = getattr(settings, modality)
    parts: dict[str, object] = chosen.model_dump(mode="json", include=TOLD[modality])
    code = [ROOM / f"{name}.py" for name in DECODING[modality]]
    if chosen.encoder == SIGNAL:
        code.append(ROOM / f"signal_{modality}.py")
    else:
        from m3tr.features.pretrained.device import precision

        code += [ROOM / "pretrained" / f"{name}.py" for name in CHECKPOINT[modality]]
        if modality == "audio":
            code.append(ROOM / "signal_audio.py")  # it cuts the segments
        parts["precision"] = precision(settings)
        parts["transformers"] = version("transformers")
    parts["encoder"] = _encoder(chosen.encoder)
    parts["code"] = [_digest(path) for path in code]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _encoder(name: str) -> object:
    """Name, and what is behind it: the files of a folder, the commit of a hub id."""
    if name == SIGNAL:
        return name
    folder = Path(name)
    if not folder.is_dir():
        return [name, _commit(name)]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    inside = [(path.relative_to(folder), path) for path in files]
    return [
        [relative.as_posix(), _digest(path)]
        for relative, path in inside
        if path.suffix not in NEVER_READ and not any(p.startswith(".") for p in relative.parts)
    ]


def _commit(name: str) -> str:
    """The commit that loading a hub id will give; empty where it will fail."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name
    except Exception:  # loading the checkpoint tells why, in one sentence
        return ""


def _digest(path: Path) -> str:
    told = path.stat()
    return _content(path.resolve(), told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=1_000)
def _content(path: Path, size: int, changed: int) -> str:
    """Digest of a file's bytes; read again only where size or time differ."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
