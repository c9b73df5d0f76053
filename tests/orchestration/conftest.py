"""A small workspace with the repository's own graph, whose stages take no time."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.graph import REPOSITORY

SOUND: dict[str, Any] = {"expectations": 3, "failed": [], "warnings": []}
COVERAGE = [{"modality": "text", "value": 0.9, "limit": 0.5, "ok": True}]
FIGURES: dict[str, dict[str, Any]] = {
    "validate": {
        "failed_critical": 0,
        "suites": dict.fromkeys(("raw_videos", "raw_columns", "raw_feedback", "videos"), SOUND),
    },
    "features": {"failed_critical": 0, "coverage": COVERAGE, "warnings": ["it has moved"]},
    "bank": {"contract": {"2": 0, "3": 0, "5": 0}, "items": 12},
    "train": {"contract": {"5": 0, "6": 0}},
    "evaluate": {
        "bounds": [{"metric": "nMSE", "value": 0.4, "limit": 1.0, "ok": True}],
        "contract": {"2": 0, "5": 0},
        "nMSE": 0.4,
        "skill": float("nan"),
        "by_horizon": [0.3, float("nan")],
    },
}


class Workspace:
    """Folder with the repository's graph; `turn` sets what a stage reports or how it fails."""

    def __init__(self, folder: Path, only: tuple[str, ...] = ()) -> None:
        self.folder, self.figures = folder, FIGURES
        graph = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
        self.stages = {}
        for name, body in graph.items():
            if only and name not in only:
                continue
            deps = [dep for dep in body["deps"] if not dep.startswith("m3tr/")]
            self.stages[name] = {
                "desc": body["desc"],
                "cmd": f"python stage.py {name}",
                "deps": [*deps, f"knobs/{name}.json"],
                "outs": body["outs"],
            }
            self.turn(name, figures=FIGURES.get(name, {}))
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": self.stages}, sort_keys=False))
        shutil.copy(Path(__file__).with_name("stage.py"), folder)
        (folder / "data").mkdir()
        for table in ("videos", "feedback"):
            (folder / "data" / f"{table}.parquet").write_text(table)
        run_dvc(folder, "init", "--no-scm", "-q")

    def turn(self, stage: str, **knobs: Any) -> None:
        (self.folder / "knobs").mkdir(exist_ok=True)
        (self.folder / "knobs" / f"{stage}.json").write_text(json.dumps(knobs))


def run_dvc(folder: Path, *arguments: str) -> str:
    """What `dvc ARGUMENTS` prints in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("M3TR_WORKSPACE", "M3TR_MLFLOW_UI", "MLFLOW_TRACKING_URI", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")


@pytest.fixture
def dvc() -> Callable[..., str]:
    return run_dvc


@pytest.fixture
def small(tmp_path: Path) -> Workspace:
    """The first three stages."""
    return Workspace(tmp_path, only=("ingest", "validate", "features"))


@pytest.fixture
def half(tmp_path: Path) -> Workspace:
    """The stages up to the bank, which needs all of them."""
    return Workspace(tmp_path, only=("ingest", "validate", "features", "trajectories", "bank"))


@pytest.fixture
def whole(tmp_path: Path) -> Workspace:
    """All stages."""
    return Workspace(tmp_path)
