"""Where a run came from: code, machine, and the data's md5 as DVC knows it."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml


def provenance(stage: str, workspace: Path) -> dict[str, str]:
    """Tags that say from which code and data a run of `stage` came (docs/mlflow.md).

    Parameters
    ----------
    stage : str
        Stage name, as in dvc.yaml.
    workspace : Path
        Folder with dvc.yaml, dvc.lock and data.dvc; each may be absent.

    Returns
    -------
    dict of str to str
        `stage`, `m3tr_version`, `python`, `platform`; in a git repository `git_commit` and
        `git_dirty`; with DVC `dataset_md5` and `dvc_inputs` (JSON: path to md5). What is not known
        is absent.
    """
    tags = {
        "stage": stage,
        "m3tr_version": _version("m3tr"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **git_state(workspace),
    }
    if digest := dataset_digest(workspace):
        tags["dataset_md5"] = digest
    if inputs := stage_inputs(stage, workspace):
        tags["dvc_inputs"] = json.dumps(inputs)
    return tags


def git_state(folder: Path) -> dict[str, str]:
    """`git_commit` and `git_dirty` ("true" or "false") of the repository `folder` lies in."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    # dvc.lock changes along the way of every run
    return {
        "git_commit": commit,
        "git_dirty": str(bool(_git(folder, "status", "-s", "--", ":/", ":!/dvc.lock"))).lower(),
    }


def dataset_digest(workspace: Path) -> str | None:
    """The md5 that data.dvc records for the folder `data` ("<32 hex digits>.dir"), if any."""
    outs = _yaml(workspace / "data.dvc").get("outs") or []
    for out in outs:
        if out.get("path") == "data":
            return out.get("md5")
    return None


def stage_inputs(stage: str, workspace: Path) -> dict[str, str]:
    """The md5 of each dependency of `stage` that an earlier stage or data.dvc has recorded.

    The stage's own entry in dvc.lock still describes its previous run while it runs, so its
    dependencies are looked up among the outputs of the stages before it.
    """
    known = {
        out["path"]: out["md5"]
        for entry in (_yaml(workspace / "dvc.lock").get("stages") or {}).values()
        for out in entry.get("outs") or []
        if "md5" in out
    }
    if digest := dataset_digest(workspace):
        known["data"] = digest
    deps = ((_yaml(workspace / "dvc.yaml").get("stages") or {}).get(stage) or {}).get("deps") or []
    return {path: known[path] for path in deps if isinstance(path, str) and path in known}


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
