"""Runs: what is logged, where it is kept, and what happens where there is nothing to log."""

import json
import subprocess

import pytest
import yaml

from m3tr.errors import InputError
from m3tr.registry.connection import tracking_uri
from m3tr.registry.provenance import git_state, provenance, stage_inputs
from m3tr.registry.settings import RegistrySettings
from m3tr.registry.tracking import flatten, stage_run

MD5 = "0123456789abcdef0123456789abcdef"


def client():
    import mlflow

    return mlflow.MlflowClient()


@pytest.fixture
def dvc(workspace):
    """A workspace as DVC leaves it while the stage train runs."""
    (workspace / "data.dvc").write_text(
        yaml.safe_dump({"outs": [{"md5": f"{MD5}.dir", "hash": "md5", "path": "data"}]})
    )
    stages = {
        "ingest": {"cmd": "m3tr ingest", "deps": ["data"], "outs": ["artifacts/tables"]},
        "train": {"cmd": "m3tr train", "deps": ["artifacts/tables"], "outs": ["artifacts/model"]},
    }
    (workspace / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    lock = {"ingest": {"outs": [{"path": "artifacts/tables", "md5": "aa.dir"}]}}
    # of the previous run of train, on other tables
    lock["train"] = {
        "deps": [{"path": "artifacts/tables", "md5": "old.dir"}],
        "outs": [{"path": "artifacts/model", "md5": "bb.dir"}],
    }
    (workspace / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    return workspace


def test_a_run_keeps_settings_figures_files_and_provenance(dvc, capfd):
    params = {
        "model": {"width": 64, "eta": {"start": 0.5}},
        "kinds": ["a", "b"],
        "long": "x" * 9000,
    }
    tags = {"dataset": "sample", "absent": None}
    (dvc / "note.txt").write_text("hello")
    (dvc / "folder").mkdir()
    (dvc / "folder" / "a.txt").write_text("a")
    with stage_run("train", workspace=dvc, experiment="e", params=params, tags=tags) as run:
        run.log_metrics(
            {"nmse": 0.5, "by": {"Szabo-Huberman": 1, "a(b)": 2.0}, "nan": float("nan")}
        )
        run.log_metrics({"loss": 2.0}, step=1)
        run.log_metrics({"loss": 1.0}, step=2)
        run.log_artifact(dvc / "note.txt")
        run.log_artifact(dvc / "folder")
        run.log_dict({"a": 1}, "figures.json")
    found = client().get_run(run.id)
    assert found.info.status == "FINISHED" and found.info.run_name == "train"
    logged = found.data.params
    assert logged["model.width"] == "64" and logged["model.eta.start"] == "0.5"
    assert logged["kinds"] == "['a', 'b']"
    assert len(logged["long"]) == 6000 and logged["long"].endswith("[cut]")
    by = {"by.Szabo-Huberman": 1.0, "by.a_b_": 2.0}
    assert found.data.metrics == {"nmse": 0.5, "loss": 1.0, **by}
    assert [m.value for m in client().get_metric_history(run.id, "loss")] == [2.0, 1.0]
    tags = found.data.tags
    assert tags["stage"] == "train" and tags["dataset"] == "sample" and "absent" not in tags
    assert tags["dataset_md5"] == f"{MD5}.dir" and tags["m3tr_version"]
    assert json.loads(tags["dvc_inputs"]) == {"artifacts/tables": "aa.dir"}
    (entry,) = found.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("sample", f"{MD5}.dir")
    artifacts = {a.path for a in client().list_artifacts(run.id)}
    assert artifacts == {"note.txt", "folder", "figures.json"}
    kept = list((dvc / ".mlflow" / "artifacts").rglob("*.txt"))
    assert {p.name for p in kept} == {"note.txt", "a.txt"}
    assert not (dvc / "mlruns").exists()
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_a_failing_stage_is_a_failed_run(workspace):
    with (
        pytest.raises(ZeroDivisionError),
        stage_run("train", workspace=workspace, experiment="e", params={}, tags={}) as run,
    ):
        raise ZeroDivisionError
    assert client().get_run(run.id).info.status == "FAILED"


def test_a_run_can_be_continued(workspace):
    with stage_run("train", workspace=workspace, experiment="e", params={"a": 1}, tags={}) as first:
        first.log_metrics({"loss": 1.0})
    again = {"a": 2, "b": 3}
    with stage_run(
        "evaluate", workspace=workspace, experiment="e", params=again, tags={}, run_id=first.id
    ) as second:
        second.log_metrics({"nmse": 0.4})
    found = client().get_run(first.id)
    assert second.id == first.id and found.info.run_name == "train"
    assert found.data.params == {"a": "1", "b": "3"}
    assert found.data.metrics == {"loss": 1.0, "nmse": 0.4}


def test_many_parameters_and_metrics_fit(workspace):
    many = {f"p{i}": i for i in range(450)}
    with stage_run("t", workspace=workspace, experiment="e", params=many, tags={}) as run:
        run.log_metrics({f"m{i}": i for i in range(1200)})
    found = client().get_run(run.id)
    assert len(found.data.params) == 450 and len(found.data.metrics) == 1200


def test_without_dvc_and_git_the_tags_are_absent(workspace):
    tags = provenance("train", workspace)
    assert set(tags) == {"stage", "m3tr_version", "python", "platform"}
    (workspace / "dvc.lock").write_text("")
    assert stage_inputs("train", workspace) == {}


def test_git_commit_and_dirty(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    assert git_state(tmp_path) == {}
    (tmp_path / "a").write_text("a")
    git("add", "a")
    git("commit", "-q", "-m", "first")
    assert git_state(tmp_path) == {"git_commit": git("rev-parse", "HEAD"), "git_dirty": "false"}
    (tmp_path / "a").write_text("b")
    assert git_state(tmp_path)["git_dirty"] == "true"


def test_the_address_is_the_workspaces_own_or_the_one_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path / "w") == f"sqlite:///{tmp_path}/w/.mlflow/mlflow.db"
    assert (tmp_path / "w" / ".mlflow" / "artifacts").is_dir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org:5000")
    assert tracking_uri(tmp_path / "v") == "http://example.org:5000"
    assert not (tmp_path / "v").exists()


def test_a_server_that_does_not_answer_is_one_sentence(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        pytest.raises(InputError, match=r"http://127.0.0.1:9 does not answer .*unset MLFLOW"),
        stage_run("t", workspace=workspace, experiment="e", params={}, tags={}),
    ):
        pass


def test_flatten_and_settings():
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}
    assert RegistrySettings().model == "m3tr"
    with pytest.raises(ValueError, match="model"):
        RegistrySettings(model="a/b")
