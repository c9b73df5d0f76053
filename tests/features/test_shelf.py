"""Shards of tokens: what is added is found again, whatever happens to files and processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m3tr.features import shelf as module
from m3tr.features.shelf import Entry, Shelf


def entry(number: int, T: int = 3) -> Entry:
    tokens = np.random.default_rng(number).normal(size=(T, 4)).astype(np.float32)
    return Entry(tokens, pixels=number, seconds=number / 2)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def fill(folder: Path | None, numbers: range, per_shard: int = 10) -> Shelf:
    shelf = Shelf(folder)
    for count, number in enumerate(numbers, start=1):
        shelf.add(key(number), entry(number))
        if count % per_shard == 0:
            shelf.flush()
    return shelf


def check(shelf: Shelf, numbers: range) -> None:
    found = shelf.take([key(number) for number in numbers])
    for number in numbers:
        np.testing.assert_array_equal(found[key(number)].tokens, entry(number).tokens)
        assert (found[key(number)].pixels, found[key(number)].seconds) == (number, number / 2)
        assert shelf.facts(key(number)) == (number, number / 2)


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_added_is_found(tmp_path: Path, on_disk: bool) -> None:
    shelf = fill(tmp_path if on_disk else None, range(35))
    check(shelf, range(35))
    assert key(34) in shelf and key(35) not in shelf
    assert shelf.shape([key(1)]) == (3, 4) and shelf.shape([key(99)]) == (0, 0)
    if on_disk:
        shelf.close()
        check(Shelf(tmp_path), range(35))
        assert Shelf(tmp_path).shape([key(1), key(30)]) == (3, 4)


def test_a_content_without_the_modality_is_known_too(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.add(key(0), Entry(np.zeros((0, 0), np.float32), seconds=2.0))
    shelf.close()
    again = Shelf(tmp_path)
    assert key(0) in again and again.shape([key(0)]) == (0, 0)
    assert again.take([key(0)])[key(0)].tokens.shape[0] == 0


def test_many_small_shards_are_merged_under_an_open_reader(tmp_path: Path) -> None:
    reader = fill(tmp_path, range(20))
    fill(tmp_path, range(20, 500)).close()
    files = list(tmp_path.glob("shard-*.parquet"))
    assert len(files) == 1 and len(pl.read_parquet(files)) == 500
    check(reader, range(20))  # its shards are gone
    check(Shelf(tmp_path), range(500))


def test_a_damaged_shard_counts_as_absent_and_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, range(20))
    first, second = sorted(tmp_path.glob("shard-*.parquet"))
    first.write_bytes(first.read_bytes()[:-9])
    shelf = Shelf(tmp_path)
    assert key(0) not in shelf and key(15) in shelf
    content = bytearray(second.read_bytes())
    content[8:200] = bytes(192)  # the footer is whole, the pages are not
    second.write_bytes(content)
    with pytest.raises(KeyError):
        shelf.take([key(15)])
    assert not second.exists() and key(15) not in Shelf(tmp_path)


def test_what_cannot_be_read_just_now_is_not_removed(tmp_path: Path) -> None:
    shelf = fill(tmp_path, range(10))
    (path,) = tmp_path.glob("shard-*.parquet")
    path.rename(tmp_path / "aside")
    path.mkdir()  # reading it is an error of the system, not of the content
    with pytest.raises((OSError, KeyError)):
        shelf.take([key(1)])
    path.rmdir()
    (tmp_path / "aside").rename(path)
    check(Shelf(tmp_path), range(10))


def test_readers_beside_processes_that_merge(tmp_path: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_shelf import fill
for start in range(100, 1000, 40):
    fill(Path(sys.argv[2]), range(start, start + 40), per_shard=2).close()
"""
    fill(tmp_path, range(100), per_shard=2)
    reader = Shelf(tmp_path)
    here = str(Path(__file__).parent)
    writer = subprocess.Popen([sys.executable, "-c", code, here, str(tmp_path)])
    looks = 0
    while writer.poll() is None:
        check(reader, range(100))
        check(Shelf(tmp_path), range(100))
        looks += 1
    assert writer.returncode == 0 and looks > 2


def test_leftovers_of_killed_writers_are_neither_read_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, range(10))
    (tmp_path / ".shard-0-left.parquet").write_bytes(b"PAR1 half a file")
    monkeypatch.setattr(module, "STALE_SECONDS", -1.0)
    shelf = Shelf(tmp_path)
    check(shelf, range(10))
    shelf.close()
    assert not list(tmp_path.glob(".shard-*"))


def test_two_processes_on_one_shelf(tmp_path: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_shelf import fill
for start in range(0, 400, 40):
    fill(Path(sys.argv[2]), range(start, start + 40 + int(sys.argv[3])), per_shard=2).close()
"""
    here = str(Path(__file__).parent)
    both = [
        subprocess.Popen([sys.executable, "-c", code, here, str(tmp_path), str(more)])
        for more in (0, 7)
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    check(Shelf(tmp_path), range(407))
