"""Readers and writers at once, in processes of their own; and a writer that is killed."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from m3tr.memory.bank import Bank
from m3tr.memory.folder import LOCK, PREFIX

SCRIPT = Path(__file__).with_name("growing.py")
sys.path.insert(0, str(SCRIPT.parent))
import growing  # noqa: E402

APPENDS, READERS, KILLS = 50, 3, 20


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(growing.ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return out


def leftovers(folder: Path) -> set[str]:
    """What lies in the folder and belongs to no bank."""
    named = {s["name"] for s in Bank.open(folder).manifest.segments}
    return {p.name for p in folder.iterdir()} - named - {"manifest.json", LOCK}


def whole(folder: Path, n: int) -> None:
    """The bank holds the first n items and answers as one that was made of them at once."""
    bank, right = Bank.open(folder), growing.upto(n)
    assert len(bank) == n
    assert sorted(bank.items["video_id"]) == sorted(right.items["video_id"])
    for one, two in zip(growing.ask(bank), growing.ask(right), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.slow
def test_readers_see_whole_banks_while_a_writer_appends(tmp_path):
    folder, stop = tmp_path / "bank", tmp_path / "stop"
    growing.upto(growing.FIRST).save(folder)
    readers = [start("read", folder, APPENDS, stop) for _ in range(READERS)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n", reader.stderr.read()
    finished(start("write", folder, growing.FIRST, APPENDS))
    stop.touch()
    for reader in readers:
        rounds, *seen = map(int, finished(reader).split())
        assert set(seen) <= set(growing.states(APPENDS))
        assert rounds >= 10 and len(seen) >= 5 and seen[-1] == growing.states(APPENDS)[-1]
    whole(folder, growing.states(APPENDS)[-1])
    assert len(Bank.open(folder).segments) < 10 and not leftovers(folder)


def test_two_writers_at_once_lose_nothing(tmp_path):
    growing.upto(growing.FIRST).save(tmp_path)
    middle = growing.FIRST + 10 * growing.BATCH
    both = [start("write", tmp_path, first, 10) for first in (growing.FIRST, middle)]
    sizes = [list(map(int, finished(writer).split())) for writer in both]
    assert sorted(sizes[0] + sizes[1]) == growing.states(20)[1:]  # each found the other's there
    whole(tmp_path, growing.states(20)[-1])
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_a_writer_killed_at_random_moments_loses_nothing_that_it_promised(tmp_path):
    """Batches are large, so that most of the time goes into writing."""
    size, width = 3_000, 300
    clean = tmp_path / "clean"
    Bank.build(*growing.batch(0, growing.FIRST, width)).save(clean)
    ticks = []
    with start("write", clean, growing.FIRST, 3, size, width) as writer:
        for _ in writer.stdout:
            ticks.append(time.monotonic())
    one = (ticks[-1] - ticks[0]) / 2
    folder, n, partial, lost = tmp_path / "bank", growing.FIRST, 0, 0
    Bank.build(*growing.batch(0, n, width)).save(folder)
    rng = random.Random(0)
    for kill in range(KILLS):
        with start("write", folder, n, 9, size, width) as writer:
            promised = int(writer.stdout.readline())  # one is done, the next is under way
            time.sleep(one * (kill + rng.random()) / KILLS)
            writer.kill()
            rest = writer.stdout.read().split()
        promised = max([promised, *map(int, rest)])
        bank = Bank.open(folder)
        assert len(bank) in (promised, promised + size)
        numbers = np.sort(bank.value("number"))
        assert np.array_equal(numbers, np.arange(len(bank)))
        partial += bool(leftovers(folder))
        lost += len(bank) == promised
        n = len(bank)
        if n > 40_000:  # small again
            Bank.build(*growing.batch(0, growing.FIRST, width)).save(folder)
            n = growing.FIRST
    assert partial >= 3 and lost >= 3, (partial, lost)
    bank = Bank.open(folder).append(*growing.batch(n, 5, width))
    assert len(bank) == n + 5 and not leftovers(folder)


class Killed(BaseException):
    """Goes through every handler of errors, as a kill does."""


CHANGES = {
    os: ("mkdir", "replace", "fsync", "unlink", "rmdir"),
    np: ("save",),
    pq: ("write_table",),
}


def killing(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """Raise `Killed` before that change of the file system, counted from 1; what was changed."""
    seen: list[str] = []

    def counted(function):
        def wrapper(*args, **kwargs):
            if len(seen) + 1 == moment:
                raise Killed
            seen.append(function.__name__)
            return function(*args, **kwargs)

        return wrapper

    for module, names in CHANGES.items():
        for name in names:
            monkeypatch.setattr(module, name, counted(getattr(module, name)))
    return seen


def test_a_writer_killed_before_any_change_of_the_file_system(tmp_path):
    """Every moment there is: before each folder, file, rename, flush and removal."""
    size = 3 * growing.FIRST  # more than the bank has: it is merged, and its segment removed
    before, after = growing.FIRST, growing.FIRST + size
    states, ended = [], False
    while not ended:
        folder = tmp_path / str(len(states))
        growing.upto(before).save(folder)
        bank = Bank.open(folder)
        with pytest.MonkeyPatch.context() as patch:
            seen = killing(patch, len(states) + 1)
            try:
                bank.append(*growing.batch(before, size))
                ended = True
            except Killed:
                pass
        n = len(Bank.open(folder))
        whole(folder, n)
        states.append((n, bool(leftovers(folder))))
        Bank.open(folder).append(*growing.batch(before, size + 1))
        whole(folder, after + 1)
        assert not any(name.startswith(PREFIX) for name in leftovers(folder))
    assert len(states) == len(seen) + 1 > 20 and states[-1] == (after, False)
    assert [n for n, _ in states] == sorted(n for n, _ in states)  # at one moment it happens
    assert {(before, False), (before, True), (after, True)} <= set(states)
