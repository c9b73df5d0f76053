"""Ablations: ratios to the full model, and errors that are kept for the next run."""

import json
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
KNOWN = {"validation": [3.0, 2.0], "test": [4.0, 1.5]}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))


def test_ablations_are_ratios_to_the_full_model() -> None:
    from benchmarks.ablations import summary
    from benchmarks.results_page import ablations

    def errors(validation: float, test: float) -> dict:
        return {"validation": [9.0, validation], "test": [9.0, test]}

    found = summary(
        {
            "a": {"M3TR": errors(1.0, 2.0), "eta=0": errors(2.0, 2.0), "-MHP": errors(1.5, 3.0)},
            "b": {"M3TR": errors(2.0, 2.0), "eta=0": errors(1.0, 8.0)},
        }
    )
    assert found["tasks"]["a"]["eta=0"]["validation"] == 2.0
    assert found["mean"]["eta=0"] == pytest.approx({"validation": 1.0, "test": 2.0})
    assert found["mean"]["-MHP"] == pytest.approx({"validation": 1.5, "test": 1.5})
    text = ablations(found)
    assert "| eta=0 | 2.000 / 1.000 | 0.500 / 4.000 | 2 | 1.000 / 2.000 |" in text
    assert "| -MHP | 1.500 / 1.500 | – | 1 | 1.500 / 1.500 |" in text


def test_errors_are_kept_with_the_settings_they_were_made_with(
    tmp_path: Path, tiny_forecaster: Any
) -> None:
    from benchmarks.ablations import ERRORS, keep_errors

    trained, own, runs = tmp_path / "row", tmp_path / "eta=0", []
    tiny_forecaster.workspace(trained)

    def train() -> Path:
        runs.append(1)
        return trained

    made = {"bank": {"eta": 0}, "train": {"ages": (0.7, 1.4)}, "without": ""}
    keep_errors(own, made, train)
    first = json.loads((own / ERRORS).read_text())["errors"]
    assert {split: len(errors) for split, errors in first.items()} == {"validation": 2, "test": 2}
    keep_errors(own, made, train)
    assert len(runs) == 1
    keep_errors(own, made | {"without": "text"}, train)
    assert len(runs) == 2


def test_what_was_scored_is_not_trained_again(tmp_path: Path) -> None:
    from benchmarks.ablations import ERRORS, ablate, folder_of, made_as
    from benchmarks.folds import RESULT
    from benchmarks.tasks import ABLATIONS, TASKS, settings
    from m3tr.workspace import write_json

    asked, text = settings(TASKS["S400"], 0, quick=True), "-text"
    (variant,) = (v for v in ABLATIONS if v.name == text)
    for name, made in (("M3TR", asked), (text, made_as(asked, variant))):
        write_json({"settings": made, "errors": KNOWN}, folder_of(tmp_path, "S400", name) / ERRORS)
    # there is no data to train on
    write_json({"seconds": {}}, tmp_path / "datasets" / "sample-quick" / RESULT)
    before = sorted(tmp_path.rglob("*"))
    ablate(tmp_path, [TASKS["S400"]], [variant], 1, quick=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_table_has_what_was_made_with_the_settings_of_today(tmp_path: Path) -> None:
    from benchmarks.ablations import ERRORS, collect, folder_of, made_as
    from benchmarks.tasks import ABLATIONS, TASKS, settings
    from benchmarks.workspaces import merged
    from m3tr.workspace import write_json

    def keep(name: str, made: dict) -> None:
        told = {"settings": made, "errors": KNOWN}
        write_json(told, folder_of(tmp_path, "S400", name) / ERRORS)

    task = TASKS["S400"]
    asked = settings(task, 0, quick=True)
    of = {variant.name: made_as(asked, variant) for variant in ABLATIONS}
    assert collect(tmp_path, [task], True) == {"tasks": {}, "mean": {}}
    keep("eta=0", of["eta=0"])
    assert collect(tmp_path, [task], True)["tasks"] == {}  # over what?
    keep("M3TR", asked)
    keep("-text", merged(of["-text"], {"train": {"seeds": 99}}))
    found = collect(tmp_path, [task, TASKS["T0"]], True)
    assert {name: [*variants] for name, variants in found["tasks"].items()} == {
        "S400": ["M3TR", "eta=0"]
    }
    assert found["mean"] == {"eta=0": {"validation": 1.0, "test": 1.0}}
    assert collect(tmp_path, [task], False)["tasks"] == {}


def test_the_results_have_the_ablations_of_their_settings(tmp_path: Path) -> None:
    from benchmarks.ablations import ERRORS, folder_of, made_as
    from benchmarks.results import collect
    from benchmarks.tasks import ABLATIONS, TASKS, settings
    from m3tr.workspace import write_json

    task = TASKS["S400"]
    assert "ablations" not in collect(tmp_path, [task], True)
    asked = settings(task, 0, quick=True)
    for name, made in (("M3TR", asked), ("-Mamba", made_as(asked, ABLATIONS[0]))):
        write_json({"settings": made, "errors": KNOWN}, folder_of(tmp_path, "S400", name) / ERRORS)
    assert collect(tmp_path, [task], True)["ablations"]["mean"].keys() == {"-Mamba"}
    assert "ablations" not in collect(tmp_path, [task], False)
