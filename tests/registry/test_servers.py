"""The same over HTTP: a tracking server with artifacts, and a scoring server."""

import json
import urllib.error
import urllib.request

import mlflow
import pytest

from m3tr.errors import InputError
from m3tr.registry.connection import connect
from m3tr.registry.payload import payload
from m3tr.registry.promotion import promote
from m3tr.registry.registries import load, version_of

pytestmark = pytest.mark.slow


def post(url: str, body: dict) -> tuple[int, dict]:
    request = urllib.request.Request(
        f"{url}/invocations",
        json.dumps(body, allow_nan=False).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_tracking_registering_and_promoting_through_a_server(
    server, new_version, toy_score, workspace, monkeypatch, capfd
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert new_version(2.0) == "1"
    assert promote("m3tr", toy_score)["promoted"]
    new_version(3.0)
    result = promote("m3tr", toy_score)
    assert not result["promoted"] and result["champion_metric"] == 4.0
    assert version_of("m3tr", "champion") == "1"
    (run, *_) = mlflow.search_runs(experiment_names=["e"], output_format="list")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    # nothing was written beside the server
    assert not list((workspace / ".mlflow").glob("artifacts/*"))
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_a_refused_host_is_one_sentence(server, workspace, monkeypatch):
    class Opener:
        """urlopen with a Host header the server was not told about."""

        def __init__(self, real):
            self.real = real

        def __call__(self, url, timeout):
            return self.real(urllib.request.Request(url, headers={"Host": "evil.example"}))

    monkeypatch.setattr(urllib.request, "urlopen", Opener(urllib.request.urlopen))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with pytest.raises(InputError, match="--allowed-hosts"):
        connect(workspace)


def test_scoring_over_http(new_version, toy_score, small_tables, serve):
    new_version(0.5)
    promote("m3tr", toy_score)
    frame = payload(*small_tables)
    expected = load("m3tr", "champion").predict(frame).to_dict(orient="records")
    with serve("models:/m3tr@champion", mlflow.get_tracking_uri()) as url:
        split = frame.to_dict(orient="split")
        assert post(url, {"dataframe_split": split}) == (200, {"predictions": expected})
        records = frame.to_dict(orient="records")
        assert post(url, {"dataframe_records": records}) == (200, {"predictions": expected})
        alone = {"video_id": "new", "published_at": "2024-01-31T18:00:00Z", "title": None}
        status, answer = post(url, {"dataframe_records": [alone]})
        assert status == 200 and [p["total"] for p in answer["predictions"]] == [0.5, 0.5]
        typed = {
            **alone,
            "duration_s": 12,
            "creator_followers": 12_000,
            "feedback": [[1, "view", 3]],
        }
        status, answer = post(url, {"dataframe_records": [typed]})
        assert status == 200 and answer["predictions"][0]["total"] == 2.5
        bad = {**alone, "published_at": "soon"}
        status, answer = post(url, {"dataframe_records": [bad]})
        assert status == 400 and "Row 0 (video new): published_at is 'soon'" in answer["message"]
        assert "Traceback" not in json.dumps(answer)
