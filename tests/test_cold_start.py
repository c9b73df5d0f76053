"""The whole pipeline at age 0: content only, and no feedback row before any clock."""

import json
from pathlib import Path

import pytest
import yaml

from m3tr.stages import STAGES, simulate_data

SETTINGS = {
    "name": "cold",
    "task": {"observe": {"age": 0}, "horizons": ["2d", "7d"], "fractions": [0.6, 0.15, 0.25]},
    "hawkes": {"decays": [0.1, 1], "epochs": 1},
    "bank": {"eta": "learned", "weights": "learned", "trajectory": "supervised", "numbers": True},
    "train": {"members": 1, "epochs": 4},
    "evaluate": {"tuning": 1, "seeds": 1, "bootstrap": 0, "n_jobs": 1},
}


def figures(workspace: Path, stage: str) -> dict:
    return json.loads((workspace / "reports" / f"{stage}.json").read_text())["figures"]


@pytest.mark.slow
def test_a_forecast_needs_no_feedback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    simulate_data(tmp_path, videos=200, seed=3, media=False)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(SETTINGS))
    for stage in ("ingest", "features", "trajectories", "bank", "train", "evaluate"):
        STAGES[stage](tmp_path)
    examples = figures(tmp_path, "ingest")["examples"]
    assert examples["unseen_at_observation"] == examples["examples"] > 100
    assert not any(figures(tmp_path, "evaluate")["contract"].values())
    rows = json.loads((tmp_path / "reports" / "results.json").read_text())
    # nothing was seen: what reads only feedback forecasts one number for all
    assert rows["last count"]["src"] is None
    assert rows["last count"]["nmse"] == pytest.approx(rows["mean"]["nmse"])
    assert rows["M3TR"]["nmse"] < rows["mean"]["nmse"]

    # without a trajectory to compare, its weight changes no neighbour
    content = {}
    for eta in (0, 0.5):
        bank = {"bank": SETTINGS["bank"] | {"eta": eta, "weights": {}}}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(SETTINGS | bank))
        STAGES["bank"](tmp_path)
        content[eta] = figures(tmp_path, "bank")["similarity"]["content"]
    assert content[0.5] == pytest.approx(content[0], abs=1e-5)
