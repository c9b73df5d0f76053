"""Workers that crash, hang or are killed cost one item, not the run. Functions are builtins."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from m3tr.features.pool import Failure, run

DIE = "__import__('os')._exit(7)"
SLEEP = "__import__('time').sleep(60)"


def outcomes(items: list[str], seconds: float = 30.0, workers: int = 2) -> dict:
    return dict(run(eval, items, workers=workers, seconds=seconds))


def test_results_of_every_item() -> None:
    assert outcomes([f"{i} * {i}" for i in range(40)]) == {i: i * i for i in range(40)}
    assert outcomes([]) == {}


def test_a_crash_a_hang_and_an_exception_cost_one_item_each() -> None:
    items = ["1", DIE, "2", "1 / 0", SLEEP, "3", "__import__('os').abort()"]
    found = outcomes(items, seconds=3.0)
    assert [found[i] for i in (0, 2, 5)] == [1, 2, 3]
    assert [found[i].kind for i in (1, 3, 4, 6)] == ["crashed", "raised", "hung", "crashed"]
    assert "7" in found[1].message and "ZeroDivisionError" in found[3].message


def test_an_item_whose_worker_is_killed_once_is_tried_again(tmp_path: Path) -> None:
    # the first try leaves a file and kills its own process, the second finds the file
    once = (
        f"(lambda p: 'second' if p.exists() else (p.touch(), __import__('os').kill("
        f"__import__('os').getpid(), 9)))(__import__('pathlib').Path({str(tmp_path / 'tried')!r}))"
    )
    assert outcomes([once, "1", "2"]) == {0: "second", 1: 1, 2: 2}


def test_workers_killed_from_outside() -> None:
    pids: list[int] = []
    items = ["(__import__('time').sleep(0.1), __import__('os').getpid())[1]"] * 30
    killed = False
    found = {}
    for index, pid in run(eval, items, workers=2, seconds=30):
        found[index] = pid
        pids.append(pid)
        if len(pids) == 4 and not killed:
            os.kill(pid, signal.SIGKILL)
            killed = True
    assert len(found) == 30 and not any(isinstance(pid, Failure) for pid in found.values())
    assert len(set(pids)) >= 3


def test_no_worker_outlives_its_use() -> None:
    results = run(eval, ["__import__('os').getpid()"] * 3, workers=1, seconds=30)
    _, pid = next(results)
    results.close()  # as an interrupt does
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_workers_end_when_the_parent_is_killed() -> None:
    code = (
        "from m3tr.features.pool import run\n"
        "for _, pid in run(eval, ['__import__(\"os\").getpid()', '__import__(\"time\").sleep(1)'],"
        " workers=1, seconds=30):\n    print(pid, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the worker is still there")


def test_runs_from_standard_input_and_without_a_guard(tmp_path: Path) -> None:
    code = (
        "from m3tr.features.pool import run\nprint(dict(run(eval, ['6*7'], workers=1, seconds=30)))"
    )
    done = subprocess.run([sys.executable, "-"], input=code, text=True, capture_output=True)
    assert done.stdout.strip() == "{0: 42}", done.stderr


def test_several_runs_at_once() -> None:
    found: list[dict] = [{}, {}]

    def one(k: int) -> None:
        found[k] = outcomes([str(i + k) for i in range(5)], workers=1)

    threads = [threading.Thread(target=one, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{i: i for i in range(5)}, {i: i + 1 for i in range(5)}]


def test_a_pause_of_the_taker_costs_no_result() -> None:
    items = ["__import__('time').sleep(0.2)"] * 4
    found = []
    for _, result in run(eval, items, workers=2, seconds=1.5):
        found.append(result)
        if len(found) == 1:
            time.sleep(3)  # what was finished meanwhile is long overdue
    assert found == [None] * 4


def test_workers_that_never_get_ready_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from m3tr.errors import InputError
    from m3tr.features import pool

    monkeypatch.setattr(pool, "BOOT", "import time; time.sleep(60)")
    monkeypatch.setattr(pool, "START_SECONDS", 0.3)
    with pytest.raises(InputError, match="die at their start"):
        list(run(eval, ["1"], workers=1, seconds=30))
