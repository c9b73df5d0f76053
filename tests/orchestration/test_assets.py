"""Materializing through a real DVC workspace and a real Dagster instance."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import ExecuteInProcessResult

from orchestration.definitions import build_definitions
from orchestration.graph import data_version, read_stages
from orchestration.report import typed


def launch(
    folder: Path, instance: dg.DagsterInstance, job: str = "popularity_pipeline"
) -> ExecuteInProcessResult:
    definitions = build_definitions(folder)
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance, raise_on_error=False
    )


def materialized(result: ExecuteInProcessResult) -> dict[str, dg.AssetMaterialization]:
    events = result.get_asset_materialization_events()
    return {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization
        for event in events
        if event.asset_key
    }


def versions(result: ExecuteInProcessResult) -> dict[str, str]:
    made = materialized(result)
    return {name: (event.tags or {})["dagster/data_version"] for name, event in made.items()}


def checks(result: ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    return {
        (e.asset_key.to_user_string(), e.check_name): e.passed
        for e in result.get_asset_check_evaluations()
    }


@pytest.mark.slow
def test_the_whole_pipeline_then_nothing_left_to_do(
    whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M3TR_MLFLOW_UI", "http://127.0.0.1:5000/")
    with dg.DagsterInstance.ephemeral() as instance:
        first = launch(whole.folder, instance)
        assert first.success
        assert set(checks(first)) == {
            ("validate", "quality"),
            ("validate", "raw_tables"),
            ("features", "quality"),
            ("features", "coverage"),
            ("bank", "information_contract"),
            ("train", "information_contract"),
            ("evaluate", "metric_bounds"),
            ("evaluate", "information_contract"),
        }
        assert all(checks(first).values())
        made = materialized(first)
        for name, stage in read_stages(whole.folder).items():
            metadata = made[name].metadata
            assert versions(first)[name] == data_version(whole.folder, stage)
            assert metadata["cached"].value is False
            assert metadata["dagster/row_count"] == dg.MetadataValue.int(7)
            assert metadata["seconds"] == dg.MetadataValue.float(0.5)
            link = "http://127.0.0.1:5000/#/runs/abc123"
            assert metadata["mlflow_run"] == dg.MetadataValue.url(link)
        evaluate = made["evaluate"].metadata
        assert evaluate["nMSE"] == dg.MetadataValue.float(0.4)
        assert evaluate["skill"] == dg.MetadataValue.text("NaN")
        assert evaluate["by_horizon"] == dg.MetadataValue.json([0.3, "NaN"])
        assert evaluate["results"] == dg.MetadataValue.md("evaluate")
        assert evaluate["page"].value == str(whole.folder / "reports/report.html")
        assert str(made["validate"].metadata["page"].value).endswith("data_docs/index.html")
        page = str(made["features"].metadata["page"].value)
        assert page.endswith("features_docs/index.html")
        assert "results" not in made["train"].metadata

        second = launch(whole.folder, instance)
        assert second.success
        assert all(m.metadata["cached"].value is True for m in materialized(second).values())
        assert versions(second) == versions(first)


def test_a_failing_stage_says_its_sentence(small: Any) -> None:
    sentence = "data/videos.parquet, row 3: no video_id; fill it in"
    small.turn("ingest", error=sentence)
    with dg.DagsterInstance.ephemeral() as instance:
        result = launch(small.folder, instance)
        (failure,) = [e for e in result.all_events if e.is_step_failure]
        data = failure.step_failure_data.user_failure_data
        assert data is not None and data.description == sentence
        error = failure.step_failure_data.error
        assert error is not None and error.to_string() == sentence  # no stack trace
        assert "ingest begins" in str(data.metadata["output"].value)
        assert not materialized(result)
        # the output went to the log while it came
        logged = [record.user_message for record in instance.all_logs(result.run_id)]
        assert "ingest begins" in logged and f"error: {sentence}" in logged


def test_without_a_sentence_dvc_speaks(small: Any) -> None:
    shutil.rmtree(small.folder / "data")
    with dg.DagsterInstance.ephemeral() as instance:
        result = launch(small.folder, instance)
        (failure,) = [e for e in result.all_events if e.is_step_failure]
        assert "No such file or directory" in str(failure.step_failure_data.user_failure_data)


SENTENCE = "raw_videos: half of the ids are missing; remedy: fill them in"
SHORT = {"modality": "audio", "value": 0.2, "limit": 0.5, "ok": False}
RAW = dict.fromkeys(("raw_videos", "raw_columns", "raw_feedback"), {"failed": []})
FAILURES: dict[str, tuple[str, dict[str, Any], set[str], str]] = {
    "critical rules": ("validate", {"failed_critical": 2}, {"quality"}, "2 critical"),
    "raw tables": (
        "validate",
        {"suites": RAW | {"raw_videos": {"failed": [SENTENCE]}}},
        {"raw_tables"},
        SENTENCE,
    ),
    "raw tables not judged": ("validate", {"suites": {}}, {"raw_tables"}, "not judged: raw_videos"),
    "features": ("features", {"failed_critical": 1}, {"quality"}, "1 critical"),
    "coverage": ("features", {"coverage": [SHORT]}, {"coverage"}, "audio: 20.0% of the videos"),
}


@pytest.mark.parametrize(
    ("stage", "figures", "broken", "words"), FAILURES.values(), ids=FAILURES.keys()
)
def test_a_failing_check_stops_what_follows(
    half: Any, stage: str, figures: dict[str, Any], broken: set[str], words: str
) -> None:
    half.turn(stage, figures=half.figures[stage] | figures | {"failed": [SENTENCE]})
    with dg.DagsterInstance.ephemeral() as instance:
        result = launch(half.folder, instance)
        assert not result.success
        assert {name for (_, name), passed in checks(result).items() if not passed} == broken
        # what does not need the features goes on without them
        beside = {"features", "trajectories"} if stage == "features" else set()
        assert set(materialized(result)) == {"ingest", "validate"} | beside
        assert (half.folder / "artifacts" / "features").exists() == (stage == "features")
        failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
        assert all(e.blocking and words in str(e.description) for e in failed)
        shown = failed[0].metadata
        for name, value in figures.items():
            assert shown[name] == typed(value)
        if "failed_critical" in figures:
            assert shown["failed"] == dg.MetadataValue.json([SENTENCE])


def test_a_report_without_figures_fails_every_check(small: Any) -> None:
    small.turn("validate", figures={})
    with dg.DagsterInstance.ephemeral() as instance:
        result = launch(small.folder, instance)
        assert not result.success
        assert checks(result) == {("validate", "quality"): False, ("validate", "raw_tables"): False}
        assert set(materialized(result)) == {"ingest", "validate"}


def test_a_stage_that_stops_itself_shows_what_it_found(small: Any) -> None:
    small.turn("validate", error="the data fail critical checks", figures={"failed": [SENTENCE]})
    with dg.DagsterInstance.ephemeral() as instance:
        result = launch(small.folder, instance)
        (failure,) = [e for e in result.all_events if e.is_step_failure]
        data = failure.step_failure_data.user_failure_data
        assert data is not None and data.description == "the data fail critical checks"
        assert data.metadata["failed"] == dg.MetadataValue.json([SENTENCE])


def test_one_asset_alone_leaves_the_others(small: Any) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert launch(small.folder, instance).success
        small.turn("ingest", figures={"videos": 3})
        small.turn("features", figures=small.figures["features"] | {"media": 5})
        definitions = build_definitions(small.folder)
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("features")]
        )
        made = materialized(result)
        assert set(made) == {"features"}
        assert made["features"].metadata["media"] == dg.MetadataValue.int(5)


INTERRUPTED = """
import sys
from pathlib import Path
from typing import Any
from orchestration.defs.resources import StageRunner
from orchestration.graph import read_stages
folder = sys.argv[1]
StageRunner(workspace=folder).materialize(read_stages(Path(folder))["ingest"], print)
"""


def test_an_interrupted_run_leaves_no_process(small: Any) -> None:
    small.turn("ingest", sleep=300)
    command = [sys.executable, "-c", INTERRUPTED, str(small.folder)]
    # a shell may have started us with SIGINT ignored, which a child would inherit
    run = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    try:
        deadline = time.monotonic() + 60
        while not (small.folder / "asleep").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_in(small.folder)
        os.kill(run.pid, signal.SIGINT)
        assert run.wait(30) != 0
        assert not processes_in(small.folder)
    finally:
        run.kill()


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes whose working directory is `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve() == folder.resolve():
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return [line for line in found if line]
