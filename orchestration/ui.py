"""`python -m orchestration.ui`: the Dagster page and the MLflow page of a workspace, side by side.

Ctrl-C ends both and everything they started.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from orchestration.graph import REPOSITORY, workspace

START_SECONDS = 120.0
STOP_SECONDS = 15.0
TAIL_LINES = 15


@dataclass
class Server:
    """A page: how it starts, where it answers, what it logs to.

    Attributes
    ----------
    name : str
        "Dagster" or "MLflow".
    address : str
        Where the reader goes.
    ready : str
        Path that answers 200 once the page works.
    command : list of str
    environment : dict of str
        Beside that of this process.
    log : Path
    """

    name: str
    address: str
    ready: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start in a group of its own, so that Ctrl-C reaches it once, in order, from here."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.log.parent,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Whether the page works."""
        try:
            with urllib.request.urlopen(self.address + self.ready, timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def ended(self) -> bool:
        """Whether the server is no longer there."""
        return self.process is None or self.process.poll() is not None

    def tail(self) -> str:
        """Last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def free_port(host: str, wanted: int | None, default: int) -> int:
    """`wanted` if it is free, else an error; without a wish `default`, or any free one."""
    for port in (wanted,) if wanted else (default, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit(f"error: port {wanted} is taken on {host}; name another one or none")


def mlflow_server(folder: Path, host: str, port: int, allowed_hosts: str | None) -> Server:
    """MLflow on the workspace's own store, `.mlflow/mlflow.db`."""
    store = folder / ".mlflow"
    store.mkdir(exist_ok=True)
    # a Host header that is not listed is answered 403
    hosts = allowed_hosts or f"localhost,localhost:*,127.0.0.1,127.0.0.1:*,{host},{host}:*"
    return Server(
        name="MLflow",
        address=f"http://{host}:{port}",
        ready="/health",
        command=[
            *(sys.executable, "-m", "mlflow", "server"),
            *("--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}"),
            *("--artifacts-destination", str(store / "artifacts")),
            *("--host", host, "--port", str(port)),
            *("--workers", "1", "--allowed-hosts", hosts),
        ],
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        log=store / "server.log",
    )


def dagster_server(folder: Path, host: str, port: int, mlflow_address: str) -> Server:
    """Dagster with its history in `$DAGSTER_HOME`, default `.dagster` in the workspace."""
    home = dagster_home(folder)
    # the name `dg` gives the code location too: a schedule turned on here stays on there
    location = {"module_name": "orchestration.definitions", "location_name": "m3tr"}
    source = home / "workspace.yaml"
    source.write_text(yaml.safe_dump({"load_from": [{"python_module": location}]}))
    return Server(
        name="Dagster",
        address=f"http://{host}:{port}",
        ready="/server_info",
        command=[
            *(str(Path(sys.executable).with_name("dg")), "dev", "--workspace", str(source)),
            *("--host", host, "--port", str(port)),
        ],
        environment={
            "DAGSTER_HOME": str(home),
            "M3TR_WORKSPACE": str(folder),
            "M3TR_MLFLOW_UI": mlflow_address,
        },
        log=home / "server.log",
    )


def dagster_home(folder: Path) -> Path:
    """Folder of the Dagster instance, made from the repository's `dagster.yaml` if it is new."""
    home = Path(os.environ.get("DAGSTER_HOME") or folder / ".dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copy(REPOSITORY / "dagster.yaml", home)
    return home


def wait(servers: list[Server]) -> None:
    """Return once all `servers` answer.

    Raises
    ------
    SystemExit
        With the end of its log, if one ends before or takes longer than two minutes.
    """
    end = time.monotonic() + START_SECONDS
    for server in servers:
        while not server.answers():
            if server.ended() or time.monotonic() > end:
                raise SystemExit(f"{server.tail()}\nerror: {server.name} did not start, see above")
            time.sleep(0.3)


def stop(servers: list[Server]) -> None:
    """End `servers` and all they started: first as Ctrl-C would, then by force."""
    family = {p for server in servers for p in _family(server)}
    for server in servers:
        if not server.ended():
            assert server.process is not None
            os.killpg(server.process.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(family, STOP_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, STOP_SECONDS)


def _family(server: Server) -> list[psutil.Process]:
    try:
        head = psutil.Process(server.process.pid) if server.process else None
        return [head, *head.children(recursive=True)] if head else []
    except psutil.NoSuchProcess:
        return []


def main(arguments: list[str] | None = None) -> int:
    """Start both pages, print their addresses, stay until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.ui", description=__doc__)
    parser.add_argument("--workspace", type=Path, default=workspace())
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--dagster-port", type=int, help="default 3000, or any free one")
    parser.add_argument("--mlflow-port", type=int, help="default 5000, or any free one")
    parser.add_argument("--allowed-hosts", help="host names under which MLflow may be asked")
    options = parser.parse_args(arguments)
    folder = options.workspace.resolve()
    if not (folder / "dvc.yaml").is_file():
        raise SystemExit(f"error: {folder} has no dvc.yaml; name a workspace with --workspace")

    servers = []
    mlflow_address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not mlflow_address.startswith("http"):
        port = free_port(options.host, options.mlflow_port, 5000)
        servers.append(mlflow_server(folder, options.host, port, options.allowed_hosts))
        mlflow_address = servers[0].address
    port = free_port(options.host, options.dagster_port, 3000)
    servers.append(dagster_server(folder, options.host, port, mlflow_address))

    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, signal.default_int_handler)
    try:
        print("starting; this takes about ten seconds", flush=True)
        for server in servers:
            server.start()
        wait(servers)
        print(f"Dagster  {servers[-1].address}\nMLflow   {mlflow_address}", flush=True)
        print(f"workspace {folder}; Ctrl-C ends both", flush=True)
        while True:
            for server in servers:
                if server.ended():
                    raise SystemExit(f"{server.tail()}\nerror: {server.name} ended, see above")
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("stopping", flush=True)
        return 0
    finally:
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(kind, signal.SIG_IGN)
        stop(servers)


if __name__ == "__main__":
    sys.exit(main())
