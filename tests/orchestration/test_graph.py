"""The asset graph is the graph of dvc.yaml, by our reading and by DVC's own."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from m3tr.errors import InputError
from orchestration.definitions import build_definitions
from orchestration.graph import REPOSITORY, data_version, read_stages, workspace

Dvc = Callable[..., str]

STAGES = ["ingest", "validate", "features", "trajectories", "bank", "train", "evaluate", "register"]


def edges_of_assets(folder: Path) -> set[tuple[str, str]]:
    graph = build_definitions(folder).resolve_asset_graph()
    return {
        (parent.to_user_string(), key.to_user_string())
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
    }


def edges_of_dvc(folder: Path, dvc: Dvc) -> set[tuple[str, str]]:
    dot = dvc(folder, "dag", "--dot")
    edges = set(re.findall(r'"([^"]+)" -> "([^"]+)"', dot))
    return {(a, b) for a, b in edges if not a.endswith(".dvc")}


def test_the_repository_has_the_same_graph_in_both(tmp_path: Path, dvc: Dvc) -> None:
    for name in ("dvc.yaml", "data.dvc", "params.yaml"):
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, tmp_path)
    dvc(tmp_path, "init", "--no-scm", "-q")
    assert list(read_stages(tmp_path)) == STAGES
    edges = edges_of_dvc(tmp_path, dvc)
    assert edges == edges_of_assets(tmp_path) == edges_of_assets(REPOSITORY)
    assert {a for edge in edges for a in edge} == set(STAGES)


PATHS = [
    # deps of b, outs of a, whether b follows a
    ("out.csv", "out.csv", True),
    ("folder/out.csv", "folder", True),
    ("folder", "folder/out.csv", True),
    ("./folder/", "folder", True),
    ("folder2", "folder", False),
    ("fold", "folder", False),
]


@pytest.mark.parametrize(("read", "written", "follows"), PATHS)
def test_paths_meet_as_dvc_lets_them(
    tmp_path: Path, dvc: Dvc, read: str, written: str, follows: bool
) -> None:
    stages = {
        "a": {"cmd": "true", "metrics": [{written: {"cache": False}}]},
        "b": {"cmd": "true", "deps": [read], "outs": ["b.txt"]},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    dvc(tmp_path, "init", "--no-scm", "-q")
    assert edges_of_assets(tmp_path) == edges_of_dvc(tmp_path, dvc)
    assert edges_of_assets(tmp_path) == ({("a", "b")} if follows else set())


def test_descriptions_are_those_of_dvc_yaml() -> None:
    raw = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    graph = build_definitions(REPOSITORY).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert graph.get(key).description == raw[key.to_user_string()]["desc"]


def test_forms_we_cannot_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dvc\.yaml: not found"):
        read_stages(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {foreach: [1, 2], do: {cmd: 'true'}}}")
    with pytest.raises(InputError, match="stage a uses a template"):
        read_stages(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true', outs: ['${x}.csv']}}")
    with pytest.raises(InputError, match="stage a uses a template"):
        read_stages(tmp_path)


def test_the_workspace_is_the_repository_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workspace() == REPOSITORY
    monkeypatch.setenv("M3TR_WORKSPACE", str(tmp_path))
    assert workspace() == tmp_path.resolve()


def test_version_is_the_sum_of_the_data_not_of_the_reports(small: Any, dvc: Dvc) -> None:
    dvc(small.folder, "repro")
    stages = read_stages(small.folder)
    lock = yaml.safe_load((small.folder / "dvc.lock").read_text())["stages"]
    sums = {out["path"]: out["md5"] for out in lock["validate"]["outs"]}
    assert data_version(small.folder, stages["validate"]) == sums["artifacts/validated.json"]
    before = {name: data_version(small.folder, stage) for name, stage in stages.items()}
    assert len(set(before.values())) == 3
    (small.folder / "data" / "videos.parquet").write_text("another table")
    dvc(small.folder, "repro", "-s", "ingest")
    after = {name: data_version(small.folder, stage) for name, stage in stages.items()}
    assert {name for name in stages if before[name] != after[name]} == {"ingest"}


def test_selection_strings_parse() -> None:
    # fails with `TypeError: ord()` where an old antlr came along with hydra
    assert dg.AssetSelection.from_string("*") == dg.AssetSelection.all()
    graph = build_definitions(REPOSITORY).resolve_asset_graph()
    chosen = dg.AssetSelection.from_string('+key:"train"').resolve(graph)
    assert {key.to_user_string() for key in chosen} >= {"bank", "train"}
