"""A bank and its folder: what is written is what is read, and what is said when it is not there."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.memory.bank import Bank
from m3tr.memory.table import ROWS, Table


def same(one: Bank, two: Bank, make, rng) -> None:
    """The two remember the same and answer alike."""
    assert two.items.equals(one.items) and len(two) == len(one)
    assert set(two.values) == set(one.values)
    for name, value in one.values.items():
        assert np.array_equal(two.value(name), value) and two.value(name).dtype == value.dtype
    query, known_by = make.keys(rng, 4), make.times(np.full(4, 3.0))
    asked = pl.DataFrame({"video_id": list("wxyz"), "title": [f"Title {i}!" for i in range(4)]})
    answers = [bank.search(query, 6, 0.3, None, known_by, bank.alike(asked)) for bank in (one, two)]
    for name in ("index", "score", "trajectory", "content"):
        assert np.array_equal(getattr(answers[0], name), getattr(answers[1], name))


@pytest.mark.parametrize("n", [0, 25])
def test_a_bank_survives_its_folder(make, tmp_path, n):
    rng = np.random.default_rng(n)
    bank = make.bank(rng, n)
    bank = bank.with_values({"mask": rng.random((n, 3)) < 0.5, "token": rng.random((n, 2, 4))})
    bank.save(tmp_path / "bank")
    again = Bank.open(tmp_path / "bank")
    same(bank, again, make, rng)
    assert replace(again.manifest, segments=[]) == bank.manifest
    assert again.manifest.provenance == [{"items": n}]
    # from what was read, once more
    again.save(tmp_path / "copy")
    same(bank, Bank.open(tmp_path / "copy"), make, rng)


def test_a_bank_may_be_saved_over_itself(make, tmp_path):
    rng = np.random.default_rng(0)
    bank = make.bank(rng, 30)
    bank.save(tmp_path)
    again = Bank.open(tmp_path)
    again.save(tmp_path)
    same(bank, Bank.open(tmp_path), make, rng)
    same(bank, again, make, rng)


def test_nothing_is_read_before_it_is_asked_for(make, tmp_path):
    rng = np.random.default_rng(1)
    make.bank(rng, 40).save(tmp_path)
    bank = Bank.open(tmp_path)
    assert isinstance(bank.segments[0].keys, np.memmap)
    found = bank.search(make.keys(rng, 2), 3)
    bank.take("increment", found.index)
    assert bank.segments[0].table._frame is None


def test_saving_again_replaces_and_leaves_nothing_behind(make, tmp_path):
    rng = np.random.default_rng(0)
    make.bank(rng, 9).save(tmp_path)
    (tmp_path / "segment-000007").mkdir()  # a run that was killed
    make.bank(rng, 4).save(tmp_path)
    assert len(Bank.open(tmp_path)) == 4
    assert {p.name for p in tmp_path.iterdir()} == {".lock", "manifest.json", "segment-000008"}


def test_no_bank_is_one_sentence(make, tmp_path):
    with pytest.raises(InputError, match="run the stage `bank`"):
        Bank.open(tmp_path)
    make.bank(np.random.default_rng(0), 3).save(tmp_path / "bank")
    manifest = tmp_path / "bank" / "manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(whole | {"schema": 999}))
    with pytest.raises(InputError, match="schema 999.*rebuild"):
        Bank.open(tmp_path / "bank")
    for broken in ("{", "[]", "{}"):
        manifest.write_text(broken)
        with pytest.raises(InputError, match="run the stage `bank`"):
            Bank.open(tmp_path / "bank")


@pytest.mark.parametrize("damage", ["keys.npy", "items.parquet", "identity.mark.npy"])
@pytest.mark.parametrize("how", ["gone", "cut", "empty"])
def test_a_damaged_bank_is_one_sentence(make, tmp_path, damage, how):
    make.bank(np.random.default_rng(0), 30).save(tmp_path)
    file = tmp_path / "segment-000000" / damage
    content = file.read_bytes()
    file.unlink()
    if how != "gone":
        file.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    with pytest.raises(InputError, match="damaged.*run the stage `bank` to rebuild it"):
        Bank.open(tmp_path)


def test_another_point_process_or_encoder_is_refused(make, tmp_path):
    rng = np.random.default_rng(2)
    made_with = {"mhp": "a" * 64, "text": "b" * 64}
    keys = make.keys(rng, 5)
    Bank.build(make.items(rng, 5), keys, {}, fingerprints=made_with).save(tmp_path)
    Bank.open(tmp_path, made_with)
    Bank.open(tmp_path, {"mhp": "a" * 64, "visual": "never used"})
    for name, what in (("mhp", "another point process"), ("text", "another text encoder")):
        with pytest.raises(InputError, match=f"{what} .*cccccc.*rebuild"):
            Bank.open(tmp_path, made_with | {name: "c" * 64})


def test_a_few_rows_of_a_file_are_those_of_the_whole(tmp_path):
    rng = np.random.default_rng(3)
    n = 3 * ROWS + 17
    arrays = {"a": rng.normal(size=(n, 2, 3)).astype("f4"), "b": rng.integers(0, 9, n)}
    whole = Table(pl.DataFrame({"video_id": [f"v{i}" for i in range(n)]}), arrays)
    whole.save(tmp_path / "t.parquet")
    for rows in ([n - 1, 0, ROWS, ROWS, ROWS - 1], [], rng.integers(0, n, 50).tolist()):
        table, rows = Table.open(tmp_path / "t.parquet"), np.array(rows, np.int64)
        for name, value in arrays.items():
            assert np.array_equal(table.take(name, rows), value[rows])
        assert table.frame_of(rows).equals(whole.frame()[rows.tolist()])
    # and polars reads it as a plain table
    assert (
        pl.read_parquet(tmp_path / "t.parquet")["a"][5].to_list() == arrays["a"][5].ravel().tolist()
    )
