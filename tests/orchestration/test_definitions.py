"""What Dagster and `dg` load, and that it does nothing by itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.definitions import build_definitions, defs
from orchestration.defs.checks import RULES, Rule, judge
from orchestration.defs.jobs import popularity_pipeline
from orchestration.graph import REPOSITORY
from orchestration.report import run_link, typed


def dg_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    home = folder / ".dagster"
    home.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    return subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"M3TR_WORKSPACE": str(folder), "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
    )


def test_definitions_are_loadable() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_schedule_is_off_and_runs_the_whole_pipeline() -> None:
    (schedule,) = build_definitions(REPOSITORY).schedules or []
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.job_name == popularity_pipeline.name
    job = build_definitions(REPOSITORY).resolve_job_def(popularity_pipeline.name)
    assert job.executor_def is dg.in_process_executor
    assert len(job.asset_layer.executable_asset_keys) == 8


def test_the_instance_file_is_valid_and_quiet(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.nux_enabled
        assert not instance.telemetry_enabled


def rule(stage: str, figures: dict[str, object]) -> Rule:
    """The rule of the stage that reads one of the figures, or else its first."""
    mine = [r for r in RULES if r.stage == stage]
    return next((r for r in mine if r.figure in figures), mine[0])


BAD = {"metric": "nMSE", "value": 1.4, "limit": 1.0, "ok": False}
GOOD = {"metric": "SRC", "value": 0.8, "limit": 0.3, "ok": True}
SOUND = {"failed": [], "warnings": []}
RAW_SUITES = dict.fromkeys(("raw_videos", "raw_columns", "raw_feedback"), SOUND)
ENOUGH = {"modality": "text", "value": 0.9, "limit": 0.0, "ok": True}
TOO_FEW = {"modality": "audio", "value": 0.2, "limit": 0.5, "ok": False}
CASES = [
    ("validate", {"failed_critical": 0}, True, "0 critical"),
    ("validate", {"failed_critical": 1}, False, "1 critical"),
    ("validate", {"suites": RAW_SUITES}, True, "3 suites hold"),
    ("validate", {"suites": RAW_SUITES | {"raw_columns": {"failed": ["a", "b"]}}}, False, "a; b"),
    ("validate", {"suites": {"videos": SOUND}}, False, "not judged: raw_videos, raw_columns"),
    ("features", {"failed_critical": 0, "failed": []}, True, "0 critical"),
    ("features", {"failed_critical": 3}, False, "3 critical"),
    ("features", {"coverage": [ENOUGH]}, True, "1 modalities suffice"),
    ("features", {"coverage": [ENOUGH, TOO_FEW]}, False, "audio: 20.0% of the videos, at least 50"),
    ("features", {"coverage": []}, False, "no modality"),
    ("bank", {"contract": {"2": 0, "4": 0}}, True, "2 clauses hold"),
    ("bank", {"contract": {"2": 0, "4": 3}}, False, "4: 3 violations"),
    ("bank", {"contract": {}}, False, "no clause"),
    ("train", {"contract": {"6": 1}}, False, "6: 1 violations"),
    ("train", {}, False, "no figure 'contract'"),
    ("evaluate", {"bounds": [GOOD]}, True, "1 bounds hold"),
    ("evaluate", {"bounds": [GOOD, BAD]}, False, "nMSE is 1.4, limit 1.0"),
]


@pytest.mark.parametrize(("stage", "figures", "passed", "words"), CASES)
def test_checks_judge_the_report(
    tmp_path: Path, stage: str, figures: dict[str, object], passed: bool, words: str
) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / f"{stage}.json").write_text(json.dumps({"figures": figures}))
    result = judge(tmp_path, rule(stage, figures))
    assert result.passed is passed
    assert result.description is not None and words in result.description


def test_no_report_is_no_pass(tmp_path: Path) -> None:
    assert not any(judge(tmp_path, r).passed for r in RULES)


def test_figures_have_types() -> None:
    assert typed(True) == dg.MetadataValue.bool(True)
    assert typed(3) == dg.MetadataValue.int(3)
    assert typed(0.5) == dg.MetadataValue.float(0.5)
    assert typed({"a": [1]}) == dg.MetadataValue.json({"a": [1]})
    assert typed(None) == dg.MetadataValue.null()


def test_runs_are_linked_only_where_a_page_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_link("r") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")
    assert run_link("r") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert run_link("r") == "https://mlflow.example.org/#/runs/r"
    assert run_link(None) is None


@pytest.mark.slow
def test_dg_checks_and_launches_from_the_repository(small: Any) -> None:
    checked = dg_command(small.folder, "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    launched = dg_command(small.folder, "launch", "--assets", "*")
    assert launched.returncode == 0, launched.stdout + launched.stderr
    assert (small.folder / "artifacts" / "features").exists()
    small.turn("ingest", error="data/videos.parquet: empty; add a row")
    failed = dg_command(small.folder, "launch", "--job", popularity_pipeline.name)
    assert failed.returncode != 0
    assert "data/videos.parquet: empty; add a row" in failed.stdout + failed.stderr
