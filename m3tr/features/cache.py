"""Results of single media files on disk, so that an interrupted extraction goes on.

One small file a medium, named by the digest of its bytes and of the settings: no index, nothing
to repair. A file appears under its name only when it is complete (temporary name, then rename).
"""

import hashlib
import os
from pathlib import Path

import numpy as np


class ShardCache:
    """Tokens of media files under `folder`, for one set of settings.

    Parameters
    ----------
    folder : Path
        Made when needed; may be shared by runs with different settings.
    fingerprint : str
        Digest of the settings (`m3tr.features.encoders.fingerprint`).
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    def key(self, path: Path) -> str:
        """Digest of the file's bytes and of the settings."""
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(f"{self.fingerprint}:{content}".encode()).hexdigest()

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """Tokens by modality, or None where there is no readable shard."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(self.path(key))
        except (OSError, SafetensorError):
            return None

    def put(self, key: str, tokens: dict[str, np.ndarray]) -> None:
        """Keep the tokens."""
        from safetensors.numpy import save_file

        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}")
        save_file({m: np.ascontiguousarray(array) for m, array in tokens.items()}, temporary)
        os.replace(temporary, path)
