"""Helper modules of the tests (pytest runs with importlib imports), and a MicroLens folder."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "features")]


@pytest.fixture
def folder(tmp_path: Path):
    """Three comments on two videos."""
    from microlensfolder import HOUR, T0, Folder

    made = Folder(tmp_path / "MicroLens-100k-Dataset")
    made.pairs((7, 1, T0 + HOUR), (8, 1, T0), (7, 2, T0 + 2 * HOUR))
    return made
