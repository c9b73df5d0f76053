"""Run the stages of a workspace through DVC, which decides what has changed."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from m3tr.config import read_params
from m3tr.errors import InputError

PACKAGE = Path(__file__).parent
GRAPH = PACKAGE.parent / "dvc.yaml"
RESOLVED = "resolved.json"
HEADER = "# Written by `m3tr run`; edit params.yaml instead.\n"


def run_pipeline(workspace: Path, stage: str | None = None) -> int:
    """Bring a workspace up to date.

    Parameters
    ----------
    workspace : Path
        A folder with `data/` and `params.yaml`. What DVC needs is set up in it on the first run.
    stage : str, optional
        Only this stage and what it depends on.

    Returns
    -------
    int
        Exit status of `dvc repro`.

    Raises
    ------
    InputError
        Where the folder is no workspace, or no stage is called `stage`.
    """
    read_params(workspace)
    if not (workspace / "data" / "videos.parquet").exists():
        raise InputError(
            f"{workspace / 'data' / 'videos.parquet'} is missing: bring the tables there with "
            "`m3tr import` or `m3tr simulate`, or with `dvc pull data` for the sample"
        )
    stages = list(workspace_graph()["stages"])
    if stage is not None and stage not in stages:
        raise InputError(f"no stage is called {stage!r}: use one of {', '.join(stages)}")
    prepare(workspace)
    return dvc(workspace, "repro", *([stage] if stage else []))


def prepare(workspace: Path) -> None:
    """Make a plain folder a DVC project with the stages of m3tr; leave a checkout as it is.

    Also brings the settings and the code's digest, which DVC compares, up to date.
    """
    graph = workspace / "dvc.yaml"
    if graph.exists() and not graph.read_text().startswith(HEADER):
        return
    if not (workspace / ".dvc").exists():
        _checked(workspace, "init", "--quiet", "--no-scm")
        _checked(workspace, "config", "core.analytics", "false")
    graph.write_text(HEADER + yaml.safe_dump(workspace_graph(), sort_keys=False))
    settings = read_params(workspace).model_dump(mode="json") | {"code": code_digest()}
    (workspace / RESOLVED).write_text(json.dumps(settings, indent=1) + "\n")
    _checked(workspace, "add", "--quiet", "data")


def workspace_graph() -> dict[str, Any]:
    """The stages of dvc.yaml for a folder without the code.

    They depend on the resolved settings, so that params.yaml may leave defaults out, and on one
    digest that stands for all of the code.
    """
    try:
        graph: dict[str, Any] = yaml.safe_load(GRAPH.read_text())
    except OSError:
        raise InputError(
            f"{GRAPH} is missing: install m3tr from its repository with `pip install -e .`"
        ) from None
    for stage in graph["stages"].values():
        stage["deps"] = [d for d in stage["deps"] if not d.startswith("m3tr/")]
        stage["params"] = [{RESOLVED: [*stage["params"], "code"]}]
    return graph


def code_digest() -> str:
    """Digest of the package's sources."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def dvc(workspace: Path, *arguments: str, quiet: bool = False) -> int:
    """Run DVC in the workspace with this environment's `m3tr` on the path; its exit status."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", *arguments]
    output = subprocess.DEVNULL if quiet else None
    environment = os.environ | {"PATH": path}
    with subprocess.Popen(command, cwd=workspace, env=environment, stdout=output) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # the terminal has interrupted DVC too; killed now, it would leave its lock behind
            process.wait()
            raise


def _checked(workspace: Path, *arguments: str) -> None:
    if dvc(workspace, *arguments, quiet=True):
        raise InputError(f"`dvc {' '.join(arguments)}` failed in {workspace}: see above")


def results(workspace: Path) -> str:
    """The headline table and where report, MLflow run and registered model are."""
    from m3tr.registry.connection import connect
    from m3tr.registry.registries import CHAMPION, version_of
    from m3tr.workspace import read_report

    folder = workspace / "reports"
    try:
        table = (folder / "results.md").read_text()
    except OSError:
        raise InputError(f"{folder / 'results.md'} is missing: run the pipeline first") from None
    train = read_report(workspace, "train")
    register = read_report(workspace, "register")["figures"]
    uri = connect(workspace)
    name, version = register["model"], register["version"]
    champion = version_of(name, CHAMPION)
    # DVC may have restored this registration from its cache, long after another one
    which = f"{name}@{CHAMPION}, version {version}"
    if champion != version:
        which = f"{name}/{version}; the champion is version {champion}"
    lines = [
        table.split("### nMSE by horizon")[0].rstrip(),
        "",
        f"all tables  {folder / 'results.md'}",
        f"report      {folder / 'report.html'}",
        f"MLflow run  {train['mlflow_run_id']} in {uri}",
        f"model       models:/{which} ({register['reason']})",
    ]
    return "\n".join(lines)
