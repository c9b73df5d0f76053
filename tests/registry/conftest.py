"""A real tracking store (one migrated database, copied), and real servers on free ports."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

STANDIN = Path(__file__).with_name("standin.py")
START_SECONDS = 90
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating the schema takes seconds, copying it does not."""
    from m3tr.registry.connection import connect

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(folder)
        import mlflow

        mlflow.search_experiments()
    return folder / ".mlflow" / "mlflow.db"


@pytest.fixture
def workspace(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A workspace with its own empty tracking store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "work space"
    (folder / ".mlflow").mkdir(parents=True)
    shutil.copy(empty_database, folder / ".mlflow" / "mlflow.db")
    monkeypatch.chdir(folder)
    yield folder
    import mlflow

    # a test that failed inside a run must not take the next one with it
    while mlflow.active_run():
        mlflow.end_run()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def running(arguments: list[str], url: str, log: Path, **environment: str) -> Iterator[str]:
    """Run `python -m mlflow ...` until `url` answers; end it and its workers afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            cwd=log.parent,
            # the scoring server starts `uvicorn` by name
            env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + START_SECONDS
            while time.monotonic() < end:
                assert process.poll() is None, log.read_text()
                try:
                    with urllib.request.urlopen(url, timeout=2):
                        break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.2)
            else:
                raise AssertionError(f"no answer from {url}: {log.read_text()}")
            yield url.rsplit("/", 1)[0]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """Address of a real tracking server that also serves artifacts."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    port = free_port()
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    arguments += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    with running(
        arguments,
        f"http://127.0.0.1:{port}/health",
        folder / "log.txt",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        MLFLOW_DISABLE_TELEMETRY="true",
    ) as url:
        yield url


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """`with serve("models:/m3tr@champion", tracking_uri) as url`: a real scoring server."""

    def start(model: str, tracking_uri: str) -> Any:
        port = free_port()
        arguments = ["models", "serve", "-m", model, "-p", str(port), "--env-manager", "local"]
        return running(
            arguments,
            f"http://127.0.0.1:{port}/ping",
            tmp_path / "serve.txt",
            MLFLOW_TRACKING_URI=tracking_uri,
        )

    return start


@pytest.fixture(scope="session")
def small_tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Videos, feedback and examples of four videos seen for one day; the last has no feedback."""
    start = datetime(2024, 1, 31, 18, 0, 0, 123457, tzinfo=UTC)
    ids = [f"v{i}" for i in range(4)]
    published = [start + timedelta(hours=7 * i, microseconds=i) for i in range(4)]
    videos = pl.DataFrame(
        {
            "video_id": ids,
            "published_at": published,
            "title": ["a cat", None, 'Ünïcode "quoted" 猫', ""],
            "category": ["pets", "news", None, "pets"],
            "duration_s": [12.5, None, 3.0, 60.0],
            "creator_followers": [10, 2_000_000, None, 0],
            "verified": [True, False, None, True],
        },
        schema_overrides={"published_at": pl.Datetime("us", "UTC")},
    )
    rows = [
        (ids[i], published[i] + timedelta(seconds=s, microseconds=1 + 7 * s), kind, count)
        for i in range(3)
        for s, kind, count in [(0, "view", 3), (3_601, "like", 1), (50_000, "view", 2**40 + i)]
    ]
    later = [(ids[0], published[0] + timedelta(days=1, microseconds=1), "view", 99)]
    feedback = pl.DataFrame(
        rows + later,
        schema={
            "video_id": pl.String,
            "time": pl.Datetime("us", "UTC"),
            "kind": pl.String,
            "count": pl.Int64,
        },
        orient="row",
    ).sort("video_id", "time", "kind")
    examples = pl.DataFrame(
        {
            "video_id": ids,
            "published_at": published,
            "observed_at": [p + timedelta(days=1) for p in published],
            "split": ["test"] * 4,
        },
        schema_overrides={c: pl.Datetime("us", "UTC") for c in ("published_at", "observed_at")},
    )
    return videos, feedback, examples


@pytest.fixture
def new_version(workspace: Path, small_tables: Any) -> Callable[..., str]:
    """`new_version(shift)` registers a stand-in whose totals are off by `shift`."""
    from m3tr.registry.payload import payload
    from m3tr.registry.registries import register, save
    from m3tr.registry.tracking import stage_run

    spec = importlib.util.spec_from_file_location("m3tr_standin", STANDIN)
    assert spec is not None and spec.loader is not None
    standin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(standin)

    def make(shift: float, kinds: tuple[str, ...] = ("view", "like"), features: Any = None) -> str:
        folder = workspace / "artifacts" / "model"
        standin.SeenCount(shift, list(kinds)).save(folder)
        tags = {"dataset": "toy"}
        with stage_run("register", workspace=workspace, experiment="e", params={}, tags=tags):
            uri = save(folder, payload(*small_tables, features=features).head(2), code=STANDIN)
        shutil.rmtree(folder)
        return register(
            uri, name="m3tr", metrics={"nmse": 0.5}, tags={"dataset_md5": "a.dir", "no": None}
        )

    return make


@pytest.fixture
def toy_score(small_tables: Any) -> Callable[[Any], float]:
    """Mean squared distance from the stand-in without a shift, on the test rows."""
    from m3tr.registry.payload import payload

    frame = payload(*small_tables)
    # 1 + (3 views, 1 like, 2**40 + i views); the last video has none
    seen = [5 + 2**40, 6 + 2**40, 7 + 2**40, 1]

    def score(model: Any) -> float:
        import numpy as np

        total = model.predict(frame)["total"].to_numpy().reshape(4, 2)
        return round(float(((total - np.log2(seen)[:, None]) ** 2).mean()), 9)

    return score
