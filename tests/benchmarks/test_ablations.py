"""Ablations: ratios to the full model, and errors that are kept for the next run."""

import shutil
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
    assert "| eta=0 | 2.000 / 1.000 | 0.500 / 4.000 | 1.000 / 2.000 |" in text
    assert "| -MHP | 1.500 / 1.500 | – | 1.500 / 1.500 |" in text


def test_errors_are_kept_with_the_settings_they_were_made_with(
    tmp_path: Path, tiny_forecaster: Any
) -> None:
    from benchmarks.ablations import kept_errors

    folder, runs = tmp_path / "eta=0", []

    def train() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        tiny_forecaster.workspace(folder)
        runs.append(folder)

    made = {"bank": {"eta": 0}, "train": {"ages": (0.7, 1.4)}, "without": ""}
    first = kept_errors(folder, made, train)
    assert {split: len(errors) for split, errors in first.items()} == {"validation": 2, "test": 2}
    assert kept_errors(folder, made, train) == first
    assert len(runs) == 1
    kept_errors(folder, made | {"without": "text"}, train)
    assert len(runs) == 2


def test_what_was_scored_is_not_trained_again(tmp_path: Path) -> None:
    from benchmarks.ablations import ERRORS, of_full, of_variant
    from benchmarks.tasks import TASKS, Variant, settings
    from m3tr.workspace import write_json

    asked = settings(TASKS["S400"], 0, quick=True)
    variant = Variant("-text", "CFR", {"bank": {"k": 3}}, "text")
    varied = asked | {"bank": asked["bank"] | {"k": 3}, "without": "text"}
    nothing, full, own = (tmp_path / name for name in ("nothing", "M3TR", "-text"))
    write_json({"settings": asked, "errors": KNOWN}, full / ERRORS)
    write_json({"settings": varied, "errors": KNOWN}, own / ERRORS)
    # there is no data to train on
    assert of_full(nothing, nothing, full, asked) == (full, KNOWN)
    assert of_variant(full, own, asked, variant) == KNOWN


def test_what_was_done_is_tabled_without_the_rest(tmp_path: Path) -> None:
    """Where one variant of many is scored, no other is trained."""
    from benchmarks import ablations
    from benchmarks.folds import RESULT
    from benchmarks.tasks import ABLATIONS, TASKS, settings
    from benchmarks.workspaces import merged
    from m3tr.workspace import write_json

    task = TASKS["S400"]
    asked = settings(task, 0, quick=True)
    of = {variant.name: variant for variant in ABLATIONS}
    root = tmp_path / "kept"
    made = {name: ablations.made_as(asked, of[name]) for name in ("eta=0", "-text")}
    other = merged(made["-text"], {"train": {"seeds": 99}})
    for name, told in (made | {"M3TR": asked, "-text": other}).items():
        own = {"settings": told, "errors": KNOWN}
        write_json(own, root / "ablations" / "S400" / name / ablations.ERRORS)
    write_json({"seconds": {}}, root / "datasets" / task.dataset / RESULT)  # there is no data
    found = ablations.errors_of(root, [task], [*of.values()], 1, True, done_only=True)
    assert found == {"S400": {"M3TR": KNOWN, "eta=0": KNOWN}}
    # a task whose full model is of other settings has no row either
    assert ablations.errors_of(root, [task], [*of.values()], 1, False, done_only=True) == {}


@pytest.mark.parametrize("quick", [False, True])
def test_ablations_of_other_settings_are_no_part_of_the_results(
    tmp_path: Path, quick: bool
) -> None:
    from benchmarks.ablations import FOUND, summary
    from benchmarks.results import collect
    from m3tr.workspace import write_json

    assert "ablations" not in collect(tmp_path, [], quick)
    write_json({"quick": quick, **summary({"S400": {"M3TR": KNOWN}})}, tmp_path / FOUND)
    assert collect(tmp_path, [], quick)["ablations"]["quick"] is quick
    assert "ablations" not in collect(tmp_path, [], not quick)
