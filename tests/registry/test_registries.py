"""Versions in a real registry: saved, registered, loaded, promoted only where better."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.exceptions import MlflowException
from polars.testing import assert_frame_equal

from m3tr.errors import InputError
from m3tr.registry.payload import payload
from m3tr.registry.promotion import appoint, promote
from m3tr.registry.registries import load, pip_requirements, register, save, version_of
from m3tr.registry.tracking import stage_run


def test_first_version_becomes_champion_and_a_worse_one_does_not(new_version, toy_score, capfd):
    first = new_version(2.0)
    assert version_of("m3tr", "challenger") == first and version_of("m3tr", "champion") is None
    result = promote("m3tr", toy_score)
    assert result == {
        "version": "1",
        "promoted": True,
        "reason": "There was no champion; nmse 4.",
        "champion_version": None,
        "champion_metric": None,
        "challenger_metric": 4.0,
    }
    worse = new_version(3.0)
    result = promote("m3tr", toy_score)
    assert (result["version"], result["promoted"]) == (worse, False)
    assert result["reason"] == "nmse 9 does not beat 4 of version 1."
    assert (result["champion_metric"], result["challenger_metric"]) == (4.0, 9.0)
    assert version_of("m3tr", "champion") == first and version_of("m3tr", "challenger") == worse

    new_version(2.0)
    assert not promote("m3tr", toy_score)["promoted"]  # a tie keeps the champion

    better = new_version(-1.0)
    result = promote("m3tr", toy_score)
    assert result["promoted"] and result["champion_version"] == "1"
    assert version_of("m3tr", "champion") == better
    again = promote("m3tr", toy_score)
    assert not again["promoted"] and again["reason"] == "Version 4 is the champion already."

    tags = mlflow.MlflowClient().get_model_version("m3tr", better).tags
    assert tags["nmse"] == "1" and tags["dataset_md5"] == "a.dir" and "no" not in tags
    assert tags["promotion"] == "nmse 1 beats 4 of version 1."
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_a_champion_that_cannot_be_scored_is_kept_until_another_is_appointed(
    new_version, toy_score
):
    new_version(1.0, kinds=("view",))
    mlflow.MlflowClient().set_registered_model_alias("m3tr", "champion", "1")
    new_version(2.0)
    result = promote("m3tr", toy_score)
    assert not result["promoted"] and result["champion_metric"] is None
    assert "cannot be compared" in result["reason"]
    assert "does not know the kind like" in result["reason"]
    with pytest.raises(InputError, match="no version '9'"):
        appoint("m3tr", "9")
    appoint("m3tr", "2")
    assert version_of("m3tr", "champion") == "2"


def test_a_challenger_without_a_figure_is_not_promoted(new_version, toy_score):
    new_version(float("nan"))
    result = promote("m3tr", toy_score)
    assert not result["promoted"] and result["reason"] == "The nmse of version 1 is nan."
    assert version_of("m3tr", "champion") is None


def test_what_is_not_there_is_one_sentence(workspace, tmp_path, new_version):
    with pytest.raises(InputError, match="run the stage train"):
        save(tmp_path / "nothing", pd.DataFrame())
    with pytest.raises(InputError, match="no model 'other' with the alias or version 'champion'"):
        load("other", "champion")
    new_version(0.0)
    for which in ("champion", "7"):
        with pytest.raises(InputError, match=f"'m3tr' with the alias or version '{which}'"):
            load("m3tr", which)


def test_the_version_is_code_and_json_with_exact_requirements(new_version, workspace):
    new_version(0.0)
    root = mlflow.artifacts.download_artifacts("models:/m3tr@challenger")
    files = {p.name for p in Path(root).rglob("*") if p.is_file()}
    model = load("m3tr", "challenger")
    assert {"MLmodel", "standin.py", "model.json", "input_example.json", "payload.py"} <= files
    assert not {f for f in files if f.endswith((".pkl", ".pickle"))}
    requirements = pip_requirements()
    assert all("==" in line and "+" not in line for line in requirements)
    assert {"mlflow", "torch", "polars"} <= {line.split("==")[0] for line in requirements}
    assert "dagster" not in str(requirements) and "m3tr" not in str(requirements)
    inputs = model.metadata.get_input_schema().input_names()
    assert {"feedback", "observed_at", "media", "emb_text", "creator_followers"} <= set(inputs)


def test_predictions_are_in_the_order_of_the_request(new_version, small_tables):
    new_version(0.0)
    model = load("m3tr", "challenger")
    videos, feedback, examples = small_tables
    frame = payload(videos, feedback, examples.reverse(), with_clock=True)
    out = model.predict(frame)
    assert list(out["video_id"]) == [v for v in ("v3", "v2", "v1", "v0") for _ in range(2)]
    assert list(out["horizon"]) == [0, 1] * 4
    assert out["increment_lo"][1] is None and out["increment_lo"][0] == out["increment"][0] - 1
    # each row has its own clock: an earlier one sees less
    frame.loc[2, "observed_at"] = str(examples["published_at"][1])
    seen = model.predict(frame).set_index("video_id")["total"]
    assert seen["v1"].iloc[0] == 0.0 and seen["v2"].iloc[0] == np.log2(7 + 2**40)


def test_a_bad_request_is_one_sentence_and_an_unknown_column_is_ignored(new_version, small_tables):
    new_version(0.0)
    model = load("m3tr", "challenger")
    frame = payload(*small_tables)
    plain = model.predict(frame)
    assert model.predict(frame.assign(unknown=1)).equals(plain)
    all_null = frame.assign(title=None, duration_s=np.nan)
    assert model.predict(all_null).equals(plain)
    with pytest.raises(MlflowException, match=r"Row 0 \(video v0\): published_at is None"):
        model.predict(frame.assign(published_at=None))
    with pytest.raises(MlflowException, match="lacks the column published_at"):
        model.predict(frame.drop(columns="published_at"))
    with pytest.raises(MlflowException, match="does not know the kind share"):
        model.predict(frame.assign(feedback='[[0.5, "share", 1]]'))


def test_token_lists_pass_through_signature_and_example(new_version, small_tables):
    store = pytest.importorskip("m3tr.features.store")
    ids = ["v0", "v1", "v2", "v3"]
    x = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    mask = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], bool)
    features = store.Features(ids, {"visual": x * mask[..., None]}, {"visual": mask})
    new_version(0.0, features=features)
    model = load("m3tr", "challenger")
    received = []
    forecaster = model.unwrap_python_model().forecaster
    forecaster.predict = lambda *a, **k: (
        received.append(k["features"]) or type(forecaster).predict(forecaster, *a, **k)
    )
    model.predict(payload(*small_tables, features=features))
    np.testing.assert_array_equal(received[0].tokens["visual"], features.tokens["visual"])
    np.testing.assert_array_equal(received[0].mask["visual"], mask)


FRESH = """
import json, sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/m3tr@champion")
frame = pandas.DataFrame(json.load(open(sys.argv[2])))
rows = model.predict(frame).to_dict(orient="records")
import m3tr
print(json.dumps({"m3tr": m3tr.__file__, "rows": rows}))
"""


def predict_in_fresh_process(frame: pd.DataFrame, folder: Path) -> dict:
    """Load the champion in a new interpreter that knows neither the tests nor this folder."""
    request = folder / "request.json"
    request.write_text(json.dumps(frame.to_dict(orient="records")))
    done = subprocess.run(
        [sys.executable, "-I", "-c", FRESH, mlflow.get_tracking_uri(), str(request)],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_fresh_process_predicts_the_same(new_version, toy_score, small_tables, workspace):
    new_version(0.25)
    promote("m3tr", toy_score)
    frame = payload(*small_tables)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here = load("m3tr", "champion").predict(frame)
    there = predict_in_fresh_process(frame, workspace)
    assert there["rows"] == here.to_dict(orient="records")
    # the version carries its own code
    assert str(workspace) in there["m3tr"]


@pytest.mark.slow
def test_the_real_forecaster_survives_the_registry(request, workspace):
    """models:/m3tr@champion in a fresh process predicts what the saved folder predicts here."""
    forecaster = pytest.importorskip("m3tr.model.forecaster", reason="there is no Forecaster yet")
    tiny = request.getfixturevalue("tiny_forecaster")
    examples = tiny.examples.filter(pl.col("split") == "test")
    frame = payload(tiny.videos, tiny.feedback, examples, features=tiny.features)
    with stage_run("register", workspace=workspace, experiment="e", params={}, tags={}):
        uri = save(tiny.folder, frame.head(2))
    register(uri, name="m3tr", metrics={})
    y = np.array(examples["increment"].to_list())

    def score(model) -> float:
        out = model.predict(frame)["increment"].to_numpy(float).reshape(y.shape)
        return float(((out - y) ** 2).mean() / y.var())

    assert promote("m3tr", score)["promoted"]
    ids = examples["video_id"].to_list()
    here = (
        forecaster.Forecaster.load(tiny.folder)
        .predict(
            examples.select("video_id").join(tiny.videos, on="video_id", maintain_order="left"),
            tiny.feedback.filter(pl.col("video_id").is_in(ids)),
            features=None if tiny.features is None else tiny.features.select(ids),
        )
        .sort("video_id", "horizon")
    )
    there = pl.DataFrame(predict_in_fresh_process(frame, workspace)["rows"])
    there = there.sort("video_id", "horizon").select(here.columns)
    assert_frame_equal(there, here, check_dtypes=False, rel_tol=1e-5, abs_tol=1e-5)
