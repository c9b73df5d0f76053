"""`m3tr bank info` and `search`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from answers import figures, sentence

from m3tr.memory.bank import Bank

Call = Callable[..., tuple[int, str, str]]


def test_info_tells_what_the_bank_is(m3tr: Call, finished: Path, tiny_forecaster: Any) -> None:
    bank = tiny_forecaster.forecaster.bank
    for arguments in (
        ("bank", "info", "-w", finished),
        ("bank", "-w", finished, "info"),
        ("bank", "info", "--model", finished / "artifacts/model"),
        ("bank", "info", "--model", finished / "artifacts/model/bank"),
    ):
        status, out, _ = m3tr(*arguments)
        told = figures(out)
        assert status == 0 and told["items"] == str(len(bank))
        assert told["ages"] == "6h, 12h, the task's own"
        assert told["eta"] == f"{bank.manifest.eta:g} (learned)"
        assert told["fingerprints"].startswith("mhp ")
        assert told["outcomes known"].startswith(f"{bank.items['known_at'].min():%Y-%m-%d %H:%M}")
    assert "holds no memory bank" in sentence(m3tr("bank", "info", "--model", finished))


def test_info_shows_the_index_of_each_segment(
    m3tr: Call, finished: Path, tmp_path: Path, tiny_queries: Any
) -> None:
    from m3tr.memory.approximate.settings import IndexSettings

    bank = Bank.open(finished / "artifacts/model/bank")
    keys = bank.keys.select(range(0, len(bank), 2))
    bank.indexed(IndexSettings(kind="hnsw", recall=0.9), keys).save(tmp_path / "bank")
    facts = Bank.open(tmp_path / "bank").segments[0].index.facts
    told = figures(m3tr("bank", "info", "--model", tmp_path)[1])["segment-000000"]
    assert told.startswith(f"{len(bank)} items, index hnsw ({facts['factory']}), recall ")
    assert told.endswith(f"{facts['recall']:.3g}, {facts['bytes'] / 1e6:.2f} MB")
    plain = figures(m3tr("bank", "info", "-w", finished)[1])["segment-000000"]
    assert plain == f"{len(bank)} items, no index"


@pytest.mark.parametrize(
    ("learned", "eta", "weights"),
    [
        ({"of": ["eta"], "tried": [1, 2]}, " (learned)", " (set)"),
        ({"of": ["weights"], "tried": [1, 2]}, " (set)", " (learned)"),
        ({"tried": [1, 2]}, "", ""),  # of an earlier version
        ({}, " (set)", " (set)"),
    ],
)
def test_info_tells_what_was_learned(
    m3tr: Call, finished: Path, tmp_path: Path, learned: dict, eta: str, weights: str
) -> None:
    shutil.copytree(finished / "artifacts/model/bank", tmp_path / "bank")
    manifest = json.loads((tmp_path / "bank/manifest.json").read_text())
    (tmp_path / "bank/manifest.json").write_text(json.dumps(manifest | {"learned": learned}))
    told = figures(m3tr("bank", "info", "--model", tmp_path)[1])
    assert told["eta"] == f"0.5{eta}" and told["weights"].endswith(f"visual 1{weights}")
    assert told.get("learned") == ("from 2 choices, judged on validation" if learned else None)


def test_a_search_is_that_of_the_forecaster(
    m3tr: Call, finished: Path, tiny_forecaster: Any, tiny_queries: Any
) -> None:
    f, queries = tiny_forecaster.forecaster, tiny_queries["test"]
    ids = queries.examples["video_id"].to_list()[-3:]
    found = f.retrieve(queries)
    _, out, _ = m3tr("bank", "search", *ids, "-w", finished, "--json")
    rows = pl.DataFrame(json.loads(out))
    names = f.bank.items["video_id"].to_list()
    for i, video in zip(range(-3, 0), ids, strict=True):
        own = rows.filter(pl.col("video") == video)
        assert own["video_id"].to_list() == [names[b] for b in found.index[i]]
        assert own["score"].to_list() == pytest.approx(found.score[i].tolist(), abs=1e-5)
    status, out, _ = m3tr("bank", "search", *ids, "-w", finished)
    assert status == 0 and all(video in out for video in ids) and out.count("known at") == 3


def test_a_search_listens_to_its_options(m3tr: Call, finished: Path, tiny_forecaster: Any) -> None:
    test = tiny_forecaster.features.select(tiny_forecaster.part("test")["video_id"].to_list())
    whole = test.present("visual") & test.present("audio") & test.present("text")
    asked = test.ids[int(whole.nonzero()[0][-1])]

    def search(*options: object) -> pl.DataFrame:
        status, out, err = m3tr("bank", "search", asked, "-w", finished, "--json", *options)
        assert status == 0, err
        return pl.DataFrame(json.loads(out))

    assert search("--k", 7).height == 7
    assert (search("--eta", 1)["weight.text"] == 0).all()
    plain, heavy = search("--eta", 0), search("--eta", 0, "--weight", "text=1000")
    assert (heavy["weight.text"] > 0.99).all() and (plain["weight.text"] < 0.6).all()
    assert (heavy["weight.visual"] > 0).all() and (plain["weight.visual"] > 0.1).all()
    known = search("--k", 90)["known_at"].sort()
    until = known[len(known) // 2]
    some = search("--k", 90, "--known-by", until)
    assert 0 < some.height < len(known) and (some["known_at"] <= until).all()
    for wrong, words in (
        (("--eta", 2), "eta must be between 0 and 1"),
        (("--weight", "smell=1"), "no modality 'smell'"),
        (("--weight", "text"), "as in text=2"),
        (("--weight", "text=inf"), "--weight text=inf: write a modality and a number"),
        (("--weight", "text=nan"), "--weight text=nan: write a modality and a number"),
        (("--weight", "text=-1"), "weight"),
        (("--eta", "nan"), "eta must be between 0 and 1"),
        (("--known-by", "0001-01-01T00:00:00+14:00"), "write a time"),
        (("--model", "/nowhere"), "/nowhere holds no forecaster"),
        (("--known-by", "soon"), "--known-by soon: write a time"),
    ):
        assert words in sentence(m3tr("bank", "search", asked, "-w", finished, *wrong))


def test_there_are_no_more_neighbours_than_items(
    m3tr: Call, finished: Path, asked: str, tiny_forecaster: Any
) -> None:
    bank = tiny_forecaster.forecaster.bank
    whole = m3tr("bank", "search", asked, "-w", finished, "--k", len(bank), "--json")
    assert whole[0] == 0 and len(json.loads(whole[1])) <= len(bank)
    for k in (10**18, 10**30):  # an array of so many could not be made
        assert m3tr("bank", "search", asked, "-w", finished, "--k", k, "--json") == whole


def test_a_video_without_neighbours_gets_a_sentence(
    m3tr: Call, finished: Path, asked: str, tiny_forecaster: Any
) -> None:
    first = tiny_forecaster.examples.sort("observed_at")["video_id"][0]
    status, out, _ = m3tr("bank", "search", first, asked, "-w", finished)
    assert status == 0 and out.startswith(f"{first}\nIt has no permitted neighbour: ")
    assert out.count("no permitted neighbour") == 1 and out.count("known at") == 1


def test_without_a_subcommand_the_stage_runs(m3tr: Call, tmp_path: Path) -> None:
    assert "params.yaml cannot be read" in sentence(m3tr("bank", "-w", tmp_path))
