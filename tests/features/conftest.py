"""Makes the helper modules importable (pytest runs with importlib imports); tiny checkpoints."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of tiny checkpoints by family, each with its processor, extractor or tokenizer."""
    import checkpoints as tiny

    root = tmp_path_factory.mktemp("checkpoints")
    tiny.make(root)
    return {path.name: str(path) for path in root.iterdir() if path.is_dir()}
