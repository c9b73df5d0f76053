"""A small world that is copied for each test, and the stages run on the copy."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bad_input.faults import Told
from tests.conftest import shared

PARAMS = """
name: bad input
task: {observe: {age: 1d}, horizons: [2d, 4d], fractions: [0.5, 0.2, 0.3], embargo: false}
quality: {min_examples: 5, max_quarantined: 0.1, max_missing_media: 0.2}
features: {visual: {frames: 2}, audio: {segments: 2}, workers: 1}
"""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty simulated videos, an empty tracking store, and what the media files give, cached."""
    return shared(tmp_path_factory, "bad_input", make_base) / "base"


def make_base(folder: Path) -> None:
    base = folder / "base"
    call("simulate", "--out", str(base), "--videos", "40")
    (base / "params.yaml").write_text(PARAMS)
    from m3tr.registry.connection import connect

    connect(base)
    import mlflow

    mlflow.search_experiments()
    for stage in ("ingest", "features"):
        call(stage, "-w", str(base))
    for made in ("artifacts", "reports"):
        shutil.rmtree(base / made)


def call(*arguments: str) -> None:
    """Call the command line, which must succeed."""
    from m3tr import cli

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "argv", ["m3tr", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
    assert not done.value.code
    # MLflow sets it for its children
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "my videos"))


@pytest.fixture
def m3tr(
    m3tr: Callable[..., tuple[int, str, str]], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Told]]:
    """Run a stage on the workspace, as `m3tr STAGE -w WORKSPACE` does."""

    def run(stage: str) -> Told:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Told(*m3tr(stage, "-w", workspace))

    yield run
    # MLflow sets it outside of monkeypatch's sight
    os.environ.pop("MLFLOW_TRACKING_URI", None)
