"""A bank that is appended to from processes of their own: batches, writers, readers.

`python growing.py VERB FOLDER ...`; nothing is random, so that a reader knows what it must find.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys, unit

FIRST, BATCH, DIMS = 40, 7, 12  # items of the bank at first, of each batch; dimensions
START = np.datetime64("2025-01-01", "us")
ROOT = Path(__file__).parents[2]


def batch(first: int, size: int, width: int = 3) -> tuple[pl.DataFrame, Keys, dict]:
    """Items `first` to `first + size`, which know their number; known in no order."""
    number = np.arange(first, first + size)
    days = (number * 37 % 101).astype("timedelta64[D]")
    items = pl.DataFrame(
        {
            "video_id": [f"v{i:05d}" for i in number],
            "known_at": START + days,
            "title": [f"t{i // 2}" for i in number],
        }
    )
    wave = np.sin(np.outer(number + 1, np.arange(1, DIMS + 1)) * 0.7)
    key = unit(wave)
    values = {"number": number, "wide": np.repeat(number[:, None], width, 1).astype(np.float32)}
    return items, Keys(key, {"text": key[:, ::-1].copy()}, {0.5: -key}), values


def upto(n: int) -> Bank:
    """The bank of the first n items, made at once."""
    return Bank.build(*batch(0, n))


def states(appends: int) -> list[int]:
    """How many items a bank can have."""
    return [FIRST + i * BATCH for i in range(appends + 1)]


def ask(bank: Bank) -> tuple[list, np.ndarray, np.ndarray]:
    """Ids, scores and the values `number` that a fixed set of queries finds."""
    queries = Keys(unit(np.cos(np.outer(np.arange(1, 5), np.arange(DIMS)))))
    clock = START + np.array([400, 50, 20, 99]) * np.timedelta64(1, "D")
    found = bank.search(queries, 6, 1.0, known_by=clock, age=np.array([np.nan, 0.5, np.nan, 0.5]))
    ids = bank.describe(found.index[found.found])["video_id"].to_list()
    return ids, found.score, bank.take("number", found.index)


def write(folder: Path, first: int, appends: int, step: int) -> None:
    """Append batch after batch, and say so after each; after every `step` wait for a line."""
    for i in range(appends):
        bank = Bank.open(folder).append(*batch(first + i * BATCH, BATCH))
        print(len(bank), flush=True)
        if (i + 1) % step == 0:
            sys.stdin.readline()


def doomed(folder: Path, size: int, width: int, moment: int) -> None:
    """Append large batches, the first of an item that a line tells, and say so after each.

    In the second append stop before that array is saved or file flushed, counted from 1; 0: never.
    """
    seen = 0

    def stopping(own: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            nonlocal seen
            seen += 1
            if seen == moment:
                print("middle", flush=True)
                sys.stdin.readline()
            return own(*args, **kwargs)

        return wrapper

    first = int(sys.stdin.readline())
    for i in range(9):
        bank = Bank.open(folder).append(*batch(first + i * size, size, width))
        print(len(bank), flush=True)
        if not i:
            np.save, os.fsync = stopping(np.save), stopping(os.fsync)


def read(folder: Path, appends: int) -> None:
    """Open, search and take until the last batch is there; say what there is when it changes.

    Whole banks only, and the answers of theirs.
    """
    known = {n: ask(upto(n)) for n in states(appends)}
    now: Bank | None = None
    earlier: Bank | None = None
    while now is None or len(now) < states(appends)[-1]:
        bank = Bank.open(folder)
        assert len(bank) in known and len(bank) >= len(now or ()), len(bank)
        # also what was opened a while ago, whose segments may be merged away
        for each in (bank, earlier or bank):
            ids, score, number = ask(each)
            right = known[len(each)]
            assert ids == right[0] and np.array_equal(score, right[1])
            assert np.array_equal(number, right[2])
            assert sorted(each.value("number").tolist()) == list(range(len(each)))
        if now is None or len(bank) > len(now):
            print(len(bank), flush=True)
            earlier, now = now, bank
        else:
            time.sleep(0.01)  # let the writer write


if __name__ == "__main__":
    verb, folder, *numbers = sys.argv[1:]
    {"read": read, "write": write, "doomed": doomed}[verb](Path(folder), *map(int, numbers))
