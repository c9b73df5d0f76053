"""Both pages as a reader meets them: started, looked at in a browser, ended."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestration.ui import free_port

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
START_SECONDS = 150

pytestmark = pytest.mark.slow


@pytest.fixture
def pages(whole: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The running command and the addresses it printed."""
    home = whole.folder / ".dagster"
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.ui", "--workspace", str(whole.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("workspace"):
                break
        named = dict(line.split() for line in lines if line.startswith(("Dagster", "MLflow")))
        assert set(named) == {"Dagster", "MLflow"}, "".join(lines)
        assert (home / "dagster.yaml").exists()
        yield process, named
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Ctrl-C; what was left of the family after that."""
    if process.poll() is not None:
        return []
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(signal.SIGINT)
    process.wait(60)
    return psutil.wait_procs(family, timeout=1)[1]


def browse(address: str, folder: Path, *what: str) -> str:
    """Run the browser on a page, with a profile of its own, and give it time to draw."""
    assert BROWSER is not None
    command = [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1600,1000"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=30000"),
        *what,
        address,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")
def test_the_pages_show_the_pipeline_and_end_without_a_trace(
    pages: tuple[subprocess.Popen[str], dict[str, str]], whole: Any, tmp_path: Path
) -> None:
    process, named = pages
    graph = named["Dagster"] + "/asset-groups/"
    seen, end_at = "", time.monotonic() + START_SECONDS
    while not all(stage in seen for stage in whole.stages) and time.monotonic() < end_at:
        seen = browse(graph, tmp_path, "--dump-dom")
    assert all(stage in seen for stage in whole.stages)
    assert "Welcome to Dagster" not in seen  # no dialog over the page

    picture = Path(os.environ.get("M3TR_SCREENSHOTS", tmp_path)) / "assets.png"
    browse(graph, tmp_path, f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000

    assert "MLflow" in browse(named["MLflow"], tmp_path, "--dump-dom")
    assert not end(process)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_replaced_or_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert free_port("127.0.0.1", None, taken) not in (0, taken)
        with pytest.raises(SystemExit, match=f"port {taken} is taken"):
            free_port("127.0.0.1", taken, 3000)
    assert free_port("127.0.0.1", taken, 3000) == taken


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestration.ui", "--workspace", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {tmp_path} has no dvc.yaml")
