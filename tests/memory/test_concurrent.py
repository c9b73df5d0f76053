"""Readers and writers at once, in processes of their own; and a writer that is killed."""

import fcntl
import os
import random
import subprocess
import sys
import threading
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

APPENDS, STEP, READERS, KILLS = 30, 5, 3, 20


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(growing.ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
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


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a process that must not have ended."""
    line = process.stdout.readline()
    assert line, process.stderr.read()[-2000:]
    return line.strip()


def tell(process: subprocess.Popen[str], line: object = "") -> None:
    print(line, file=process.stdin, flush=True)


@pytest.mark.slow
def test_readers_see_whole_banks_while_a_writer_appends(tmp_path):
    """They read all the time; every few batches the writer waits until each has seen the last."""
    growing.upto(growing.FIRST).save(tmp_path)
    readers = [start("read", tmp_path, APPENDS) for _ in range(READERS)]
    seen = [[int(said(reader))] for reader in readers]
    assert seen == [[growing.FIRST]] * READERS
    writer = start("write", tmp_path, growing.FIRST, APPENDS, STEP)
    for _ in range(APPENDS // STEP):
        size = max(int(said(writer)) for _ in range(STEP))
        for reader, own in zip(readers, seen, strict=True):
            while own[-1] < size:
                own.append(int(said(reader)))
        tell(writer)
    for process in (writer, *readers):
        assert not finished(process)
    states = growing.states(APPENDS)
    for own in seen:
        assert own == sorted(set(own)) and set(states[::STEP]) <= set(own) <= set(states)
    whole(tmp_path, states[-1])
    assert len(Bank.open(tmp_path).segments) < 10 and not leftovers(tmp_path)


def test_two_writers_at_once_lose_nothing(tmp_path):
    growing.upto(growing.FIRST).save(tmp_path)
    middle = growing.FIRST + 10 * growing.BATCH
    both = [start("write", tmp_path, first, 10, 10) for first in (growing.FIRST, middle)]
    sizes = [list(map(int, finished(writer).split())) for writer in both]
    assert sorted(sizes[0] + sizes[1]) == growing.states(20)[1:]  # each found the other's there
    whole(tmp_path, growing.states(20)[-1])
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_nothing_that_it_promised(tmp_path):
    """Every other one in the middle of an append, where it waits, the rest at random moments."""
    size, width, n = 1_000, 100, growing.FIRST
    rng = random.Random(0)
    Bank.build(*growing.batch(0, n, width)).save(tmp_path)

    def doomed(kill):
        return start("doomed", tmp_path, size, width, rng.randint(1, 16) if kill % 2 else 0)

    coming = doomed(0)
    for kill in range(KILLS):
        writer, coming = coming, doomed(kill + 1)  # a process takes long to start
        with writer:
            began = time.monotonic()
            tell(writer, n)
            promised = int(said(writer))  # one is done, the next is under way
            if kill % 2:
                assert said(writer) == "middle"
            else:
                time.sleep((time.monotonic() - began) * rng.random())
            writer.kill()
            promised = max([promised, *map(int, writer.stdout.read().split())])
        bank = Bank.open(tmp_path)
        if kill % 2:
            assert len(bank) == promised and leftovers(tmp_path)
        assert len(bank) in (promised, promised + size)
        numbers = np.sort(bank.value("number"))
        assert np.array_equal(numbers, np.arange(len(bank)))
        n = len(bank)
    with coming:
        coming.kill()
    bank = Bank.open(tmp_path).append(*growing.batch(n, 5, width))
    assert len(bank) == n + 5 and not leftovers(tmp_path)


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


def test_all_of_a_segment_is_flushed_before_the_manifest_names_it(tmp_path, monkeypatch):
    """A loss of power must not leave a manifest that names what the disk does not have."""
    growing.upto(growing.FIRST).save(tmp_path)
    events: list[str] = []

    def fsync(handle, own=os.fsync):
        events.append(os.readlink(f"/proc/self/fd/{handle}"))
        own(handle)

    def replace(source, target, own=os.replace):
        events.append("named")
        own(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    Bank.open(tmp_path).append(*growing.batch(growing.FIRST, 5))
    new = tmp_path / Bank.open(tmp_path).manifest.segments[-1]["name"]
    flushed = {Path(p) for p in events[: events.index("named")]}
    assert {*new.iterdir(), new, tmp_path, tmp_path / "manifest.json.partial"} <= flushed
    assert Path(events[-1]) == tmp_path


def test_an_append_waits_for_a_rebuild_and_goes_into_the_new_bank(tmp_path, monkeypatch):
    folder, n = tmp_path / "bank", growing.FIRST + 1
    growing.upto(growing.FIRST).save(folder)
    old, asking, events = Bank.open(folder), threading.Event(), []
    append = threading.Thread(target=lambda: old.append(*growing.batch(n, 3)))

    def flock(file, how, own=fcntl.flock):
        if threading.current_thread() is append:
            asking.set()
        own(file, how)
        events.append("locked by " + ("append" if asking.is_set() else "rebuild"))

    def replace(source, target, own=os.replace):
        if Path(source) == folder:
            with open(folder / LOCK) as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            append.start()
            assert asking.wait(60) and not leftovers(folder)
        events.append(f"{Path(source).name} to {Path(target).name}")
        own(source, target)

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(os, "replace", replace)
    growing.upto(n).save(folder)
    append.join(60)
    there = events.index("bank.partial to bank")
    assert events.index("locked by rebuild") < there < events.index("locked by append")
    assert events.count("locked by append") == 2  # the folder that was, then the one that is
    whole(folder, n + 3)
    assert [p.name for p in tmp_path.iterdir()] == ["bank"] and not leftovers(folder)
