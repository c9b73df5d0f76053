"""The whole pipeline on a small simulated workspace, through the command line in new processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from m3tr.baselines.rows import baselines

pytestmark = pytest.mark.slow

STAGES = ["ingest", "validate", "features", "trajectories", "bank", "train", "evaluate", "register"]
ROWS = [*(row.name for row in baselines()), "M3TR"]
SETTINGS: dict[str, Any] = {
    "name": "end to end",
    "task": {
        "observe": {"age": "1d"},
        "horizons": ["2d", "4d"],
        "fractions": [0.6, 0.15, 0.25],
    },
    "features": {"visual": {"frames": 2}, "audio": {"segments": 2}},
    "hawkes": {"epochs": 2},
    "bank": {"k": 5},
    "train": {"members": 2, "epochs": 3},
    "evaluate": {"bootstrap": 100, "tuning": 1, "seeds": 1},
}
MINUTES = 600  # seconds that one run may take on a busy machine
PREDICT = """
import sys
import mlflow, polars as pl
from m3tr.features.store import Features
from m3tr.registry.payload import payload
mlflow.set_tracking_uri(sys.argv[1])
names = ("videos", "feedback", "examples")
tables = [pl.read_parquet(f"artifacts/tables/{name}.parquet") for name in names]
videos, feedback, examples = tables
test = examples.filter(pl.col("split") == "test")
content = Features.load("artifacts/features").select(test["video_id"].to_list())
model = mlflow.pyfunc.load_model("models:/m3tr@champion")
forecast = model.predict(payload(videos, feedback, test, features=content))
columns = ["video_id", "horizon", "increment", "total"]
pl.from_pandas(forecast[columns]).write_parquet("served.parquet")
"""


class Workspace:
    """A workspace and what has happened to it so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(SETTINGS))

    def write(self, room: str | None = None, **changes: Any) -> None:
        """Write params.yaml, with changes to one room."""
        if room:
            self.settings.setdefault(room, {}).update(changes)
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def m3tr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "m3tr.cli", *arguments],
            cwd=self.folder.parent,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=MINUTES,
        )

    def run(self) -> str:
        """`m3tr run`, which must end well; what it prints."""
        done = self.m3tr("run", "-w", self.folder.name)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    def report(self, stage: str) -> dict[str, Any]:
        return json.loads((self.folder / f"reports/{stage}.json").read_text())

    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.store, self.store)

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder / '.mlflow/mlflow.db'}"

    def versions(self) -> dict[str, str]:
        """Version behind each alias of the registered model."""
        aliases = self.client().get_registered_model("m3tr").aliases
        return {alias: str(version) for alias, version in aliases.items()}


def environment() -> dict[str, str]:
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    return {k: v for k, v in os.environ.items() if k not in names} | {"PYTHONUNBUFFERED": "1"}


def ran(out: str) -> list[str]:
    """Stages that DVC ran, in order."""
    return re.findall(r"^Running stage '(\w+)'", out, re.MULTILINE)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A world of 100 videos with media files; the name of its folder has a space."""
    folder = tmp_path_factory.mktemp("end to end") / "my videos"
    made = Workspace(folder)
    done = made.m3tr("simulate", "--out", folder.name, "--videos", "100", "--seed", "11")
    assert done.returncode == 0, done.stderr
    made.write()
    yield made


@pytest.fixture(scope="module")
def first(workspace: Workspace) -> str:
    """What the first run prints."""
    return workspace.run()


def test_the_first_run_prints_the_table(workspace: Workspace, first: str) -> None:
    assert ran(first) == STAGES
    for row in ROWS:
        assert re.search(rf"^\| \**{re.escape(row)}\** \|", first, re.MULTILINE), row
    for line in ("report ", "MLflow run ", "model "):
        assert re.search(rf"^{line}", first, re.MULTILINE)
    assert "models:/m3tr@champion" in first
    page = (workspace.folder / "reports/report.html").read_text()
    assert len(page) > 10_000 and all(row in page for row in ROWS)


def test_every_stage_reports(workspace: Workspace, first: str) -> None:
    runs = set()
    for stage in STAGES:
        report = workspace.report(stage)
        assert set(report) == {"stage", "rows", "seconds", "figures", "mlflow_run_id"}
        assert report["stage"] == stage
        assert report["rows"] > 0 and report["seconds"] >= 0 and report["figures"]
        runs.add(report["mlflow_run_id"])
    # evaluate and register continue the run of train
    assert len(runs) == len(STAGES) - 2
    contract = workspace.report("bank")["figures"]["contract"]
    assert contract and not any(contract.values())


def test_the_gates_leave_their_pages_and_one_quarantine(workspace: Workspace, first: str) -> None:
    folder = workspace.folder
    for pages, suites in {
        "data_docs": ["raw_videos", "raw_columns", "raw_feedback", "videos", "examples"],
        "features_docs": ["features", "features_visual", "features_audio", "features_text"],
    }.items():
        index = (folder / "reports" / pages / "index.html").read_text()
        assert all(name in index for name in suites)
    for stage in ("validate", "features"):
        figures = workspace.report(stage)["figures"]
        assert figures["failed_critical"] == 0 and figures["expectations"] > 20
    broken = pl.read_parquet(folder / "artifacts/quarantine.parquet")
    assert broken.columns == ["table", "row", "video_id", "reason", "remedy"]
    assert not (folder / "artifacts/features/quarantine.parquet").exists()


def test_predictions(workspace: Workspace, first: str) -> None:
    predictions = pl.read_parquet(workspace.folder / "artifacts/predictions.parquet")
    examples = pl.read_parquet(workspace.folder / "artifacts/tables/examples.parquet")
    test = set(examples.filter(pl.col("split") == "test")["video_id"])
    assert set(predictions["row"]) == set(ROWS)
    for _, part in predictions.group_by("row"):
        assert set(part["video_id"]) == test
    assert predictions["y_hat"].is_finite().all() and predictions["y_hat"].min() >= 0
    information = dict(predictions.select("row", "information").unique().iter_rows())
    assert information["M3TR"] == "CFR" and information["LightGBM C"] == "C"


def test_what_mlflow_remembers(workspace: Workspace, first: str) -> None:
    client = workspace.client()
    experiment = client.get_experiment_by_name("end to end")
    assert experiment is not None
    listed = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    assert listed == {workspace.report(stage)["mlflow_run_id"] for stage in STAGES}
    md5 = yaml.safe_load((workspace.folder / "data.dvc").read_text())["outs"][0]["md5"]
    for stage in STAGES:
        run = client.get_run(workspace.report(stage)["mlflow_run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["dataset_md5"] == md5
        assert [given.dataset.digest for given in run.inputs.dataset_inputs] == [md5]
        assert run.data.params["train.members"] == "2"
        assert run.data.params["task.observe.age"] == "1d"
    headline = workspace.report("evaluate")["figures"]["headline"]
    train = client.get_run(workspace.report("train")["mlflow_run_id"])
    assert train.data.metrics["evaluate.headline.nmse"] == pytest.approx(headline["nmse"])
    names = {item.path for item in client.list_artifacts(train.info.run_id)}
    assert {"report.html", "results.md", "results.json"} <= names
    assert workspace.versions() == {"challenger": "1", "champion": "1"}


def test_the_champion_in_a_fresh_process(workspace: Workspace, first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, workspace.store],
        cwd=workspace.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=MINUTES,
    )
    assert done.returncode == 0, done.stderr
    served = pl.read_parquet(workspace.folder / "served.parquet")
    written = pl.read_parquet(workspace.folder / "artifacts/predictions.parquet")
    written = written.filter(pl.col("row") == "M3TR")
    for label in ("increment", "total"):
        both = served.join(
            written.filter(pl.col("label") == label), on=["video_id", "horizon"], validate="1:1"
        )
        assert both.height == served.height > 0
        np.testing.assert_allclose(both[label], both["y_hat"], atol=1e-6)


def test_a_second_run_has_nothing_to_do(workspace: Workspace, first: str) -> None:
    out = workspace.run()
    assert ran(out) == []
    assert "Data and pipelines are up to date" in out
    # the table is printed all the same
    assert "**M3TR**" in out


def test_a_setting_of_the_evaluation(workspace: Workspace, first: str) -> None:
    """Only what depends on it runs; the same model again is not better, so the champion stays."""
    before = workspace.report("train")
    workspace.write("evaluate", bootstrap=60)
    assert ran(workspace.run()) == ["evaluate", "register"]
    assert workspace.report("train") == before
    assert workspace.versions() == {"challenger": "2", "champion": "1"}
    told = workspace.report("register")["figures"]
    assert not told["promoted"] and "does not beat" in told["reason"]
    assert told["address"] == "models:/m3tr@challenger"


def test_interrupted_in_training(workspace: Workspace, first: str) -> None:
    """Another learning rate reruns training and what follows, also after a SIGINT in between."""
    workspace.write("train", learning_rate=0.004)
    before = int(workspace.versions()["challenger"])
    log = workspace.folder / "interrupted.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "m3tr.cli", "run", "-w", workspace.folder.name],
            cwd=workspace.folder.parent,
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(log, "Running stage 'train'", process)
            time.sleep(2)  # in the middle of it
            # a terminal sends it to the whole group
            os.killpg(process.pid, signal.SIGINT)
            status = process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    told = log.read_text()
    assert status != 0
    assert ran(told) == ["train"]
    assert "Traceback" not in told, told[-3000:]
    # nothing half made is taken for a model
    assert not (workspace.folder / "artifacts/model").exists()
    out = workspace.run()
    assert ran(out) == ["train", "evaluate", "register"]
    assert (workspace.folder / "artifacts/model/forecaster.json").exists()
    told = workspace.report("register")["figures"]
    champion = str(before + 1) if told["promoted"] else "1"
    assert workspace.versions() == {"challenger": str(before + 1), "champion": champion}


def wait_for(log: Path, words: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + MINUTES
    while words not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
