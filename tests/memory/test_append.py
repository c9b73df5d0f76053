"""Appending: the bank is then what it would be had all come at once, or it is what it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.memory.bank import Bank
from m3tr.memory.folder import LOCK
from m3tr.memory.keys import Keys, unit

SCRIPT = Path(__file__).with_name("growing.py")
ROOT = SCRIPT.parents[2]


def coarse(keys: Keys) -> Keys:
    """Keys of few values, so that many scores are exactly equal."""

    def few(key: np.ndarray) -> np.ndarray:
        return unit(np.round(key))

    return Keys(few(keys.trajectory), {m: few(k) for m, k in keys.content.items()}, keys.younger)


def by_id(bank: Bank, query: Keys, *more) -> tuple[list, np.ndarray]:
    """Ids and scores of what a search finds."""
    found = bank.search(query, *more)
    ids = bank.items["video_id"].to_numpy()
    return np.where(found.found, ids[found.index], "").tolist(), found.score


@pytest.fixture
def world(make):
    """`world(seed, n)`: items, keys and values, with ties of scores and of times."""

    def build(seed: int, n: int):
        rng = np.random.default_rng(seed)
        keys = make.keys(rng, n)
        values = {"number": np.arange(n), "wide": rng.normal(size=(n, 2, 3)).astype("f4")}
        return make.items(rng, n, n_days=4), coarse(keys) if seed % 2 else keys, values

    return build


def part(world, rows):
    items, keys, values = world
    return items[rows.tolist()], keys.select(rows), {n: v[rows] for n, v in values.items()}


@pytest.mark.parametrize("seed", range(30))
def test_any_number_of_appends_gives_the_bank_of_all_at_once(make, world, tmp_path, seed):
    """Batches of any order of time, in memory and in a folder, where segments are merged."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 90))
    whole = world(seed, n)
    right = Bank.build(*whole)
    cuts = np.sort(rng.integers(1, n, rng.integers(1, 8)))
    batches = np.split(rng.permutation(n), cuts)
    memory = stored = Bank.build(*part(whole, batches[0]))
    stored.save(tmp_path)
    for rows in batches[1:]:
        memory = memory.append(*part(whole, rows))
        stored = Bank.open(tmp_path).append(*part(whole, rows))
    query = make.keys(rng, 12)
    query = coarse(query) if seed % 2 else query
    clock = make.times(rng.integers(-1, 5, 12))
    asked = pl.DataFrame({"video_id": right.items["video_id"][rng.integers(0, n, 12)]})
    asked = asked.join(right.items, on="video_id", how="left", maintain_order="left")
    age = np.where(rng.random(12) < 0.5, 0.25, np.nan)
    for bank in (memory, stored, Bank.open(tmp_path)):
        assert len(bank) == n
        for eta, known_by, leave_out, at in (
            (0.5, None, False, None), (0.3, clock, True, None), (0.0, clock, True, None),
            (1.0, clock, True, age),
        ):  # fmt: skip
            answers = [
                by_id(b, query, 7, eta, None, known_by, b.alike(asked) if leave_out else None, at)
                for b in (bank, right)
            ]
            assert answers[0][0] == answers[1][0]
            assert np.array_equal(answers[0][1], answers[1][1])
        where = {v: i for i, v in enumerate(bank.items["video_id"])}
        place = np.array([where[v] for v in right.items["video_id"]])
        assert np.array_equal(bank.known_at(place), right.items["known_at"].to_numpy())
        assert bank.describe(place).equals(right.items)
        for name in right.values:
            assert np.array_equal(bank.take(name, place), right.value(name))
            assert np.array_equal(bank.value(name)[place], right.value(name))
    sizes = [len(s) for s in stored.segments]
    assert all(a >= 2 * b for a, b in zip(sizes, sizes[1:], strict=False))


def test_items_that_are_there_are_left_out(world, tmp_path):
    whole = world(0, 30)
    first, rest = np.arange(20), np.arange(12, 30)
    Bank.build(*part(whole, first)).save(tmp_path)
    items, keys, values = part(whole, rest)
    changed = values | {"number": values["number"] + 1_000}  # what is there stays as it was
    bank = Bank.open(tmp_path).append(items, keys, changed, {"day": "Monday"})
    assert len(bank) == 30
    number = dict(zip(bank.items["video_id"], bank.value("number").tolist(), strict=True))
    ids = whole[0]["video_id"].to_list()
    assert [number[i] for i in ids] == [*range(20), *range(1_020, 1_030)]
    assert bank.manifest.provenance == [{"items": 20}, {"items": 10, "day": "Monday"}]
    again = bank.append(items, keys, changed)
    assert len(again) == 30 and again.manifest == bank.manifest
    nobody = bank.append(*part(whole, np.empty(0, int)))
    assert len(nobody) == 30 and nobody.manifest == bank.manifest


def test_a_bank_is_not_changed_by_an_append(world, tmp_path):
    """Whoever holds the old one reads on, also when its segments were merged away."""
    whole = world(2, 40)
    Bank.build(*part(whole, np.arange(10))).save(tmp_path)
    old = Bank.open(tmp_path)
    new = old.append(*part(whole, np.arange(10, 40)))
    assert (len(old), len(new), len(new.segments)) == (10, 40, 1)
    assert not (tmp_path / "segment-000000").exists()
    assert sorted(old.take("number", np.arange(10)).tolist()) == list(range(10))
    assert old.search(whole[1], 20).found.sum(1).max() == 10
    # the old one appends to what is there now
    more = old.append(*part(world(3, 60), np.arange(40, 60)))
    assert len(more) == 40 + more.manifest.provenance[-1]["items"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*") if p.is_file() and p.name != LOCK
    }  # fmt: skip


WRONG = {
    "no value": (lambda i, k, v: (i, k, {"number": v["number"]}), "value 'wide'"),
    "a narrow value": (lambda i, k, v: (i, k, v | {"wide": v["wide"][:, :1]}), "value 'wide'"),
    "a value of another type": (
        lambda i, k, v: (i, k, v | {"number": v["number"].astype(float)}), "value 'number'",
    ),
    "a short value": (
        lambda i, k, v: (i, k, v | {"number": v["number"][1:]}), "'number' is of 9 items, not 10",
    ),
    "a long value": (
        lambda i, k, v: (i, k, v | {"number": np.arange(99)}), "'number' is of 99 items, not 10",
    ),
    "few keys": (lambda i, k, v: (i, k.select(np.arange(9)), v), "keys of 9 videos, but 10 items"),
    "few keys of one modality": (
        lambda i, k, v: (i, Keys(k.trajectory, {"text": k.content["text"][:9]}, k.younger), v),
        "keys of 9 videos, but 10 items",
    ),
    "another width": (
        lambda i, k, v: (i, Keys(k.trajectory[:, :4], k.content, k.younger), v),
        "trajectory keys have 4 dimensions, those of the bank 5",
    ),
    "no younger age": (
        lambda i, k, v: (i, Keys(k.trajectory, k.content), v), "trajectories at younger ages",
    ),
    "another width when younger": (
        lambda i, k, v: (i, Keys(k.trajectory, k.content, {0.25: k.younger[0.25][:, :2]}), v),
        "at the age of 0.25 days have 2 dimensions, those of the bank 5",
    ),
    "an item twice": (lambda i, k, v: (i.with_columns(video_id=pl.lit("x")), k, v), "x is twice"),
    "no id": (lambda i, k, v: (i.with_columns(video_id=pl.lit(None, pl.String)), k, v), "video_id"),
    "no time": (
        lambda i, k, v: (i.with_columns(known_at=pl.lit(None, pl.Datetime("us"))), k, v),
        "known_at",
    ),
    "no column": (lambda i, k, v: (i.drop("known_at"), k, v), "known_at"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_refused_and_changes_nothing(world, tmp_path, wrong):
    whole = world(0, 30)
    Bank.build(*part(whole, np.arange(20))).save(tmp_path)
    before = contents(tmp_path)
    spoil, sentence = WRONG[wrong]
    for bank in (Bank.open(tmp_path), Bank.build(*part(whole, np.arange(20)))):
        with pytest.raises(InputError, match=sentence) as refused:
            bank.append(*spoil(*part(whole, np.arange(20, 30))))
        assert "\n" not in str(refused.value)
        assert len(bank) == 20
    assert contents(tmp_path) == before


FULL = """
import resource, sys
from pathlib import Path
import growing
from m3tr.errors import InputError
from m3tr.memory.bank import Bank
bank = Bank.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    bank.append(*growing.batch(growing.FIRST, 500))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [0, 3_000, 30_000])
def test_a_full_disk_is_one_sentence_and_the_bank_stays(tmp_path, room):
    """A process that may write so many bytes a file: nothing, or some of the files, or a part."""
    sys.path.insert(0, str(SCRIPT.parent))
    import growing

    growing.upto(growing.FIRST).save(tmp_path)
    before = contents(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path, str(room)], capture_output=True, text=True,
        check=False, env=os.environ | {"PYTHONPATH": f"{SCRIPT.parent}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith(f"nothing was written to {tmp_path} (")
    assert {n: b for n, b in contents(tmp_path).items() if ".partial" not in n} == before
    bank = Bank.open(tmp_path).append(*growing.batch(growing.FIRST, 500))
    assert len(bank) == growing.FIRST + 500


def test_a_folder_that_may_not_be_written_is_one_sentence(world, tmp_path, monkeypatch):
    whole = world(0, 30)
    Bank.build(*part(whole, np.arange(20))).save(tmp_path)
    before, bank = contents(tmp_path), Bank.open(tmp_path)

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)  # the rights of root know no such folder
    with pytest.raises(InputError, match=f"nothing was written to {tmp_path} .*Permission denied"):
        bank.append(*part(whole, np.arange(20, 30)))
    assert contents(tmp_path) == before


def test_a_bank_that_lacks_the_trajectories_of_an_age_is_damaged(make, tmp_path):
    """A reader that meets a segment being removed must not take it for one without ages."""
    make.bank(np.random.default_rng(0), 9).save(tmp_path)
    (tmp_path / "segment-000000" / "keys@0.25.npy").unlink()
    with pytest.raises(InputError, match="damaged"):
        Bank.open(tmp_path)


def test_the_manifest_counts_and_numbers(world, tmp_path):
    whole = world(0, 60)
    Bank.build(*part(whole, np.arange(20))).save(tmp_path)
    for rows in np.split(np.arange(20, 60), 20):
        Bank.open(tmp_path).append(*part(whole, rows))
    stored = json.loads((tmp_path / "manifest.json").read_text())
    assert sum(s["items"] for s in stored["segments"]) == 60
    assert stored["provenance"] == [{"items": 20}, *[{"items": 2}] * 20]
