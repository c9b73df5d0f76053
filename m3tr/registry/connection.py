"""Which MLflow store is talked to: the workspace's own database or the server you name."""

import logging
import os
import urllib.error
import urllib.request
from pathlib import Path

from m3tr.errors import InputError

FOLDER = ".mlflow"
SQLITE = b"SQLite format 3\0"
SERVER_TIMEOUT_SECONDS = 10.0
# /health and /version answer any host name, this one does not
PROBE = "/api/2.0/mlflow/experiments/get?experiment_id=0"

SCHEMES = ("http://", "https://", "sqlite:", "postgresql", "mysql", "mssql")
# addresses of workspaces this process has connected to: MLflow exports the last one to the
# environment, where it must not pass for the user's choice in the next workspace
_OWN: set[str] = set()

# MLflow and GitPython read these once, at import; what the user has set stays.
QUIET = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri(workspace: Path) -> str:
    """Address of the tracking store: MLFLOW_TRACKING_URI, or else the workspace's own database.

    Parameters
    ----------
    workspace : Path
        Folder that holds `.mlflow/`, which is created where it is needed.

    Returns
    -------
    str
        For example `http://mlflow.example.org:5000` or `sqlite:////home/me/videos/.mlflow/mlflow.db`.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if chosen and chosen not in _OWN:
        _check_scheme(chosen)
        return chosen
    artifact_folder(workspace)
    database = (workspace / FOLDER / "mlflow.db").resolve()
    if database.exists() and database.stat().st_size:
        with database.open("rb") as file:
            if file.read(len(SQLITE)) != SQLITE:
                raise InputError(f"{database} is no SQLite database: move it away and run again")
    uri = f"sqlite:///{database}"
    _OWN.add(uri)
    return uri


def artifact_folder(workspace: Path) -> Path:
    """Folder for the artifacts of a database without a server in front of it, created."""
    folder = (workspace / FOLDER / "artifacts").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def connect(workspace: Path) -> str:
    """Point MLflow, tracking and registry alike, at the store of `workspace`.

    Returns
    -------
    str
        The address (`tracking_uri`).

    Raises
    ------
    InputError
        A server is named that does not answer within ten seconds, or that refuses our host name;
        MLflow itself would retry for minutes.
    """
    uri = tracking_uri(workspace)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    import mlflow

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.pyfunc", "mlflow.models.signature"):
        logging.getLogger(name).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return uri


def is_server(uri: str) -> bool:
    """True where a server decides about the place of artifacts."""
    return not uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))


def _check_scheme(uri: str) -> None:
    if not uri.startswith(SCHEMES):
        raise InputError(
            f"MLFLOW_TRACKING_URI is {uri!r}, which is no tracking store: name a server "
            "(http://...) or a database (sqlite:///...), or unset it"
        )


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}{PROBE}", timeout=SERVER_TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        # any other status, 401 above all, is left to MLflow, which knows the credentials
        if error.code == 403:
            raise InputError(
                f"The MLflow server at {uri} refuses this host name (403): start it with "
                "--allowed-hosts naming the host you use."
            ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"The MLflow server at {uri} does not answer ({error}): start it (mlflow/README.md) "
            "or unset MLFLOW_TRACKING_URI to use the workspace's own database."
        ) from None
