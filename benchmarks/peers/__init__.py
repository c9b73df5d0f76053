"""Models of other libraries, trained in environments of their own; their results are kept.

`trained(model, events)` runs `easy_tpp_peer.py` once and keeps its report in `.peers/results/`,
under a hash of the data, the settings and the script.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.workspaces import REPOSITORY
from m3tr.errors import InputError

SCRIPT = Path(__file__).parent / "easy_tpp_peer.py"
FOLDER = REPOSITORY / ".peers"
VARIABLE = "M3TR_EASY_TPP_PYTHON"
# opt-einsum is optional for torch and makes S2P2 four times faster
NEEDS = ("torch==2.13.0", "easy-tpp==0.3", "pyarrow", "opt-einsum")

# beside the script's defaults; THP is unstable at their learning rate, AttNHP slow and cut off
SETTINGS: dict[str, tuple[str, ...]] = {
    "NHP": (),
    "THP": ("--learning-rate", "0.001", "--epochs", "400"),
    "AttNHP": ("--minutes", "8"),
    "S2P2": (),
}

Report = dict[str, Any]


class PeerError(Exception):
    """The peer cannot be had; one line that says why and what helps."""


class Peer(NamedTuple):
    """A report of the script, or the reason why there is none."""

    report: Report | None
    reason: str = ""


@functools.cache  # the check costs seconds; a failure is not kept
def python(install: bool = True) -> Path:
    """Python with easy-tpp: `M3TR_EASY_TPP_PYTHON`, or else a venv below `.peers`, made on demand.

    Raises
    ------
    PeerError
        Where the variable names no such python, or easy-tpp cannot be installed.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not _has_easy_tpp(Path(named)):
            raise PeerError(f"{VARIABLE}: {named} is no python that imports easy_tpp")
        return Path(named)
    venv = FOLDER / "easy-tpp"
    found = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if _has_easy_tpp(found):
        return found
    if not install:
        raise PeerError(f"easy-tpp is not installed and --quick installs nothing; set {VARIABLE}")
    print(f"installing {', '.join(NEEDS)} into {venv}", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        [str(found), "-m", "pip", "install", "--quiet", *NEEDS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(venv, ignore_errors=True)
            raise PeerError(
                f"easy-tpp could not be installed ({_last_line(done.stderr)}); set {VARIABLE} to a "
                "python that has it"
            )
    return found


def trained(model: str, events: Path, *, retrain: bool = False, cached_only: bool = False) -> Peer:
    """The report of a trained peer, from the cache where it is there.

    Parameters
    ----------
    model : str
        A key of `SETTINGS`.
    events : Path
        Parquet with the columns split (train, dev, test), sequence, time, kind.
    retrain : bool
        Train again whatever the cache holds.
    cached_only : bool
        Train nothing; what is not in the cache has a reason instead of a report.
    """
    path = cached(model, events)
    if path.exists() and not retrain:
        return Peer(json.loads(path.read_text()))
    if cached_only:
        return Peer(None, "not trained yet; --quick trains no peer")
    print(f"training easy-tpp {model}: minutes", file=sys.stderr)
    try:
        report = _run(model, events, SETTINGS[model])
    except PeerError as error:
        return Peer(None, str(error))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report) + "\n")
    return Peer(report)


def epoch_seconds(
    model: str, events: Path, epochs: int, threads: int, *, install: bool = True
) -> list[float]:
    """Seconds of each of some training epochs, in a process of their own; see `PeerError`."""
    settings = ("--time-epochs", str(epochs), "--threads", str(threads))
    seconds: list[float] = _run(model, events, settings, install)["seconds"]
    return seconds


def cached(model: str, events: Path) -> Path:
    """Where the report of a model trained on this data with these settings is kept."""
    if model not in SETTINGS:
        raise InputError(f"no peer is called {model!r}: name one of {', '.join(SETTINGS)}")
    seen = hashlib.sha256()
    for part in (events.read_bytes(), json.dumps(SETTINGS[model]).encode(), SCRIPT.read_bytes()):
        seen.update(hashlib.sha256(part).digest())
    return FOLDER / "results" / f"easy-tpp-{model}-{seen.hexdigest()[:16]}.json"


def _run(model: str, events: Path, settings: tuple[str, ...], install: bool = True) -> Report:
    found = python(install)
    with tempfile.TemporaryDirectory(prefix="m3tr-peer-") as scratch:
        out = Path(scratch) / "report.json"
        command = [str(found), str(SCRIPT), model, "--events", str(events), "--out", str(out)]
        # standard output belongs to the table
        done = subprocess.run(
            [*command, *settings], stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode or not out.exists():
            raise PeerError(f"easy-tpp {model} failed: {_last_line(done.stderr)}")
        report: Report = json.loads(out.read_text())
        return report


def _has_easy_tpp(path: Path) -> bool:
    if not path.exists():
        return False
    command = [str(path), "-c", "import easy_tpp"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
