"""Settings that do not fit the data, stages before their time, files where folders belong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.faults import Told

SETTINGS = {
    "unknown key": ("bank: {kk: 3}", "unknown key 'bank.kk': remove it or correct its spelling"),
    "horizon in the window": ("task: {observe: {age: 3d}, horizons: [2d]}", "name a later horizon"),
    "unknown target": ("task: {target: gift}", "set task.target to one of comment, like, share"),
    "unknown group": ("task: {split: random, group_by: mood}", "name one of video_id"),
    "horizon after the data": ("task: {horizons: [500d]}", "shorten task.horizons"),
    "clock before the data": (
        "task: {split: random, observe: {until: 2001-01-01}, horizons: [2d]}",
        "40 published after the clock",
    ),
    "temporal split of one clock": ("task: {observe: {until: 2025-03-01}}", "task.split: random"),
}


@pytest.mark.parametrize(("text", "words"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_that_do_not_fit(
    workspace: Path, m3tr: Callable[[str], Told], text: str, words: str
) -> None:
    (workspace / "params.yaml").write_text(f"name: bad input\n{text}\n")
    sentence = m3tr("ingest").sentence
    assert "params.yaml" in sentence and words in sentence


@pytest.mark.parametrize(
    "stage", ["validate", "features", "trajectories", "bank", "train", "evaluate", "register"]
)
def test_a_stage_before_its_time(m3tr: Callable[[str], Told], stage: str) -> None:
    assert "run the stage" in m3tr(stage).sentence


@pytest.mark.parametrize("name", ["artifacts", "reports", ".mlflow"])
def test_a_file_where_a_folder_belongs(
    workspace: Path, m3tr: Callable[[str], Told], name: str
) -> None:
    if (workspace / name).exists():
        shutil.rmtree(workspace / name)
    (workspace / name).write_text("x")
    sentence = m3tr("ingest").sentence
    assert f"my videos/{name}" in sentence and "check that the path is right" in sentence
