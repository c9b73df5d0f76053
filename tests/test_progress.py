"""Progress of long steps: a bar on a real terminal, sparse lines elsewhere."""

import os
import pty
import subprocess
import sys

import pytest

from m3tr import progress

CODE = """
import time
from m3tr.progress import track
slow = (time.sleep(0.02) or i for i in range(40))
for _ in track(slow, "media", 40, failed=lambda i: i % 4 == 0):
    pass
"""


def test_lines_tell_done_rate_remaining_and_failures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.0)
    assert list(progress.track([1, 2, 3], "media", failed=lambda item: item == 2)) == [1, 2, 3]
    out, err = capsys.readouterr()
    first, second, third = err.splitlines()
    assert out == "" and first.startswith("media: 1/3 (") and "/s, " in first
    assert "failed" not in first and "1 failed" in second and "3/3" in third


def test_a_short_step_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(iter("ab"), "letters")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_long_step_ends_with_its_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    list(progress.track(range(7), "media"))
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in told] == ["3/7", "6/7", "7/7"]


def test_a_terminal_shows_a_bar() -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", CODE], stderr=child, env=environment)
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 65_536)
        except OSError:  # Linux says so when the other end is gone
            break
        if not piece:
            break
        shown += piece
    os.close(parent)
    assert process.wait() == 0
    text = shown.decode()
    assert "40/40" in text and "10 failed" in text and "/s" in text and "\u2501" in text
