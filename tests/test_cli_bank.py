"""The commands that ask: `m3tr explain`, `m3tr bank info`, `search` and `append`."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from m3tr.appending import append_to_bank
from m3tr.enquiries import file_name
from m3tr.errors import InputError
from m3tr.memory.bank import Bank

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_forecaster: Any) -> Path:
    """A workspace that has tables, features and a model."""
    t = tiny_forecaster
    folder = tmp_path_factory.mktemp("asked") / "my videos"
    tables = folder / "artifacts/tables"
    tables.mkdir(parents=True)
    for name in ("videos", "feedback", "examples"):
        getattr(t, name).write_parquet(tables / f"{name}.parquet")
    t.features.save(folder / "artifacts/features")
    shutil.copytree(t.folder, folder / "artifacts/model")
    (folder / "params.yaml").write_text("name: asked\n")
    return folder


@pytest.fixture(scope="module")
def incoming(tmp_path_factory: pytest.TempPathFactory, tiny_forecaster: Any) -> Path:
    """The videos of the world, as if they were others: new ids, titles and creators."""
    folder = tmp_path_factory.mktemp("incoming")
    videos = renamed(tiny_forecaster.videos).with_columns(title=pl.col("title") + " once more")
    videos.write_parquet(folder / "videos.parquet")
    renamed(tiny_forecaster.feedback).write_parquet(folder / "feedback.parquet")
    return folder


def renamed(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.concat_str(pl.lit("new-"), "video_id").alias("video_id"))


def sentence(told: tuple[int, str, str]) -> str:
    """The one sentence of a call that failed."""
    status, _, err = told
    assert status == 1, told
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def figures(out: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)


@pytest.fixture(scope="module")
def asked(tiny_forecaster: Any) -> str:
    """A test video that has neighbours."""
    return str(tiny_forecaster.part("test")["video_id"][-1])


# --- explain


def test_a_video_is_explained_in_a_table_and_a_page(m3tr: Call, finished: Path, asked: str) -> None:
    status, out, _ = m3tr("explain", asked, "-w", finished)
    assert status == 0
    page = finished / f"reports/explain/{asked}.html"
    assert out.rstrip().endswith(f"page: {page}")
    rows = [line for line in out.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert len(rows) == 4
    text = page.read_text()
    assert all(row.split()[1] in text for row in rows)
    assert asked not in [row.split()[1] for row in rows]


def test_training_videos_meet_only_what_was_known_and_not_themselves(
    m3tr: Call, finished: Path, tiny_forecaster: Any, tmp_path: Path
) -> None:
    t = tiny_forecaster
    last = t.examples.filter(pl.col("split") == "train").sort("observed_at").row(-1, named=True)
    told = m3tr("explain", last["video_id"], "-w", finished, "--out", tmp_path / "x.html")
    assert told[0] == 0 and "took part in the fit" in told[1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"]
    _, out, _ = m3tr("bank", "search", last["video_id"], "-w", finished, "--k", "60", "--json")
    found = json.loads(out)
    names = [row["video_id"] for row in found]
    assert names and last["video_id"] not in names
    known = dict(t.examples.select("video_id", "known_at").iter_rows())
    assert all(known[name] <= last["observed_at"] for name in names)


def test_what_cannot_be_explained_is_one_sentence(
    m3tr: Call, finished: Path, asked: str, tiny_forecaster: Any, tmp_path: Path
) -> None:
    first = tiny_forecaster.examples.sort("observed_at")["video_id"][0]
    before = set(finished.rglob("*"))
    told = sentence(m3tr("explain", asked + "0", "-w", finished))
    assert f"has no video '{asked}0': did you mean" in told and asked in told
    assert "has no permitted neighbour" in sentence(m3tr("explain", first, "-w", finished))
    told = sentence(m3tr("explain", asked, "-w", finished, "--observed-at", "2001-01-01"))
    assert "after the clock" in told
    for time in ("soon", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"):
        told = sentence(m3tr("explain", asked, "-w", finished, "--observed-at", time))
        assert f"--observed-at {time}: write a time" in told
    assert "has no video ''" in sentence(m3tr("explain", "", "-w", finished))
    assert "has no video '\\udcff'" in sentence(m3tr("explain", "\udcff", "-w", finished))
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for out, words in (
        (tmp_path / "file/page.html", "file: "),
        (Path("/proc/page.html"), "No such file"),
        (tmp_path / "pipe", "pipe is no ordinary file: name one for the page"),
    ):
        assert words in sentence(m3tr("explain", asked, "-w", finished, "--out", out))
    assert (tmp_path / "pipe").is_fifo()
    assert "run the stage `ingest` first" in sentence(m3tr("explain", asked, "-w", tmp_path))
    assert set(finished.rglob("*")) == before
    shutil.copytree(finished / "artifacts/tables", tmp_path / "artifacts/tables")
    assert "run the stage `train`" in sentence(m3tr("explain", asked, "-w", tmp_path))


def test_a_training_video_at_a_later_clock_is_still_one(
    m3tr: Call, finished: Path, tiny_forecaster: Any
) -> None:
    """Its horizons count from that clock, and may not be over."""
    video = tiny_forecaster.part("train")["video_id"][-1]
    late = tiny_forecaster.feedback["time"].max().isoformat()
    status, out, _ = m3tr("explain", video, "-w", finished, "--observed-at", late)
    assert status == 0 and "later life is not over" in out
    assert "is itself an item of the bank" in out and "took part in the fit" in out


def test_a_model_of_other_encoders_is_named(
    m3tr: Call, finished: Path, asked: str, tmp_path: Path
) -> None:
    model = tmp_path / "may"
    shutil.copytree(finished / "artifacts/model", model)
    manifest = json.loads((model / "bank/manifest.json").read_text())
    manifest["fingerprints"] |= {"text": "0123456789abcdef", "smell": "0123456789abcdef"}
    (model / "bank/manifest.json").write_text(json.dumps(manifest))
    workspace = tmp_path / "workspace"
    shutil.copytree(finished, workspace)
    about = json.loads((workspace / "artifacts/features/manifest.json").read_text())
    about["encoders"] = {"text": "fedcba9876543210", "smell": "fedcba9876543210"}
    (workspace / "artifacts/features/manifest.json").write_text(json.dumps(about))
    for verb in (("explain",), ("bank", "search")):
        told = sentence(m3tr(*verb, asked, "-w", workspace, "--model", model))
        assert f"the text features in {workspace / 'artifacts/features'} come from another" in told
        assert f"those of {model} (0123456789ab)" in told and "run the stage `bank`" not in told
    # what the bank compares nothing by may differ
    manifest["fingerprints"]["text"] = "fedcba9876543210"
    (model / "bank/manifest.json").write_text(json.dumps(manifest))
    assert m3tr("explain", asked, "-w", workspace, "--model", model)[0] == 0


def test_another_clock(m3tr: Call, finished: Path, asked: str, tiny_forecaster: Any) -> None:
    example = tiny_forecaster.examples.row(by_predicate=pl.col("video_id") == asked, named=True)
    young = (example["published_at"] + timedelta(hours=7)).isoformat()
    status, out, _ = m3tr("explain", asked, "-w", finished, "--observed-at", young)
    assert status == 0 and "at an age of 0.292 d" in out


@pytest.mark.parametrize("name", ["../../etc/x", "a b", "", ".", "ü" * 300, "x" * 300, "con/aux\0"])
def test_odd_ids_make_harmless_file_names(name: str) -> None:
    safe = file_name(name)
    assert safe and len(safe) <= 90 and not set(safe) & set("/\\. \0")
    assert safe != file_name(name + "?")


# --- bank info and search


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


# --- bank append


def test_append_adds_what_has_matured_once(
    m3tr: Call, finished: Path, incoming: Path, asked: str, tmp_path: Path, tiny_forecaster: Any
) -> None:
    model, own = tmp_path / "models" / "larger", contents(finished / "artifacts/model")
    arguments = ("bank", "append", incoming, "--model", model, "-w", finished)
    status, out, err = m3tr(*arguments)
    assert status == 0, err
    told = figures(out)
    t = tiny_forecaster
    assert int(told["appended"]) + int(told["left_out_censored"]) == t.videos.height
    assert int(told["left_out_censored"]) > 0
    assert int(told["items_in_the_bank"]) == int(told["appended"]) + len(t.forecaster.bank)
    assert contents(finished / "artifacts/model") == own
    assert [p.name for p in model.parent.iterdir()] == ["larger"]
    once = contents(model)
    status, out, _ = m3tr(*arguments)
    assert status == 0 and figures(out)["appended"] == "0"
    assert figures(out)["left_out_already_in_the_bank"] == told["appended"]
    assert {k: v for k, v in contents(model).items() if ".lock" not in k} == {
        k: v for k, v in once.items() if ".lock" not in k
    }
    status, out, _ = m3tr("bank", "search", asked, "-w", finished, "--model", model, "--json")
    assert any(row["video_id"].startswith("new-") for row in json.loads(out))
    status, out, _ = m3tr("explain", asked, "-w", finished, "--model", model)
    assert status == 0 and "new-" in out


def test_until_says_how_far_the_feedback_is_complete(
    m3tr: Call, finished: Path, incoming: Path, tmp_path: Path, tiny_forecaster: Any
) -> None:
    middle = tiny_forecaster.examples["known_at"].sort()[30]
    arguments = ("--model", tmp_path / "m", "-w", finished, "--observed-until", middle.isoformat())
    status, out, _ = m3tr("bank", "append", incoming, *arguments)
    assert status == 0
    new = Bank.open(tmp_path / "m/bank").items.filter(pl.col("video_id").str.starts_with("new-"))
    assert new.height == int(figures(out)["appended"]) > 0
    assert new["known_at"].max() <= middle


def test_broken_rows_are_left_out_and_counted(
    m3tr: Call, finished: Path, incoming: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(incoming, data)
    videos = pl.read_parquet(data / "videos.parquet")
    feedback = pl.read_parquet(data / "feedback.parquet")
    first, second, third = feedback["video_id"].unique(maintain_order=True)[:3]
    bad = pl.col("video_id") == second
    videos.with_columns(
        published_at=pl.when(pl.col("video_id") == first).then(None).otherwise("published_at")
    ).write_parquet(data / "videos.parquet")
    feedback.with_columns(
        count=pl.when(bad & bad.is_first_distinct()).then(-1).otherwise("count")
    ).write_parquet(data / "feedback.parquet")
    status, out, _ = m3tr("bank", "append", data, "--model", tmp_path / "m", "-w", finished)
    assert status == 0 and figures(out)["left_out_broken_rows"] == "2"
    assert "published_at is missing" in figures(out)["first_broken_row"]
    names = set(Bank.open(tmp_path / "m/bank").items["video_id"])
    assert not {first, second} & names and third in names


def test_held_out_videos_are_refused(m3tr: Call, finished: Path, tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "m"
    data.mkdir()
    for name in ("videos", "feedback"):
        shutil.copy(finished / f"artifacts/tables/{name}.parquet", data)
    arguments = ("bank", "append", data, "--model", model, "-w")
    assert "are in the validation or test split" in sentence(m3tr(*arguments, finished))
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    # wherever the model goes, and whatever workspace is named
    shutil.copytree(finished / "artifacts/model", model)
    told = sentence(m3tr(*arguments, tmp_path))
    assert f"{data / 'videos.parquet'}: " in told and "are in the validation or test" in told
    status, out, _ = m3tr(*arguments, tmp_path, "--held-out")
    assert status == 0 and int(figures(out)["appended"]) > 0 and "note" not in figures(out)


def test_the_workspace_tells_the_splits_of_a_model_of_an_earlier_version(
    m3tr: Call, finished: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    data, model = tmp_path / "data", tmp_path / "m"
    data.mkdir()
    for name in ("videos", "feedback"):
        shutil.copy(finished / f"artifacts/tables/{name}.parquet", data)
    shutil.copytree(finished / "artifacts/model", model)
    arrays = load_file(model / "arrays.safetensors")
    del arrays["held_out"]
    save_file(arrays, model / "arrays.safetensors")
    arguments = ("bank", "append", data, "--model", model, "-w")
    assert "are in the validation or test split" in sentence(m3tr(*arguments, finished))
    status, out, _ = m3tr(*arguments, tmp_path)
    assert status == 0 and "no video was looked for" in figures(out)["note"]


def test_a_model_is_made_in_the_empty_folder_where_one_stands(
    m3tr: Call, finished: Path, incoming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    status, out, err = m3tr("bank", "append", incoming, "--model", ".", "-w", finished)
    assert status == 0, err
    assert Path.cwd() == here and (Path() / "forecaster.json").exists()
    assert len(Bank.open(Path("bank"))) == int(figures(out)["items_in_the_bank"])
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("empty", [False, True])
def test_the_second_of_two_first_appends_loses_nothing(
    finished: Path, incoming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: bool
) -> None:
    model, append = tmp_path / "m", Bank.append
    if empty:
        model.mkdir()

    def overtaken(bank: Bank, *items: Any, **more: Any) -> Bank:
        monkeypatch.setattr(Bank, "append", append)
        append_to_bank(incoming, model, finished)
        return append(bank, *items, **more)

    monkeypatch.setattr(Bank, "append", overtaken)
    with pytest.raises(InputError, match="was made by another append in the meantime: run"):
        append_to_bank(incoming, model, finished)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    there = contents(model)
    again = append_to_bank(incoming, model, finished)
    assert again["appended"] == 0 and again["left_out_already_in_the_bank"] > 0
    assert set(contents(model)) == set(there)


def test_what_is_wrong_with_an_append_loses_nothing(
    m3tr: Call, finished: Path, incoming: Path, tmp_path: Path
) -> None:
    before = contents(finished)
    own = finished / "artifacts/model"
    for workspace in (finished, tmp_path):
        told = sentence(m3tr("bank", "append", incoming, "--model", own, "-w", workspace))
        assert "belongs to a pipeline" in told
    (tmp_path / "link").symlink_to(own)
    told = sentence(m3tr("bank", "append", incoming, "--model", tmp_path / "link", "-w", finished))
    assert "belongs to a pipeline" in told
    model = tmp_path / "m"
    arguments = ("--model", model, "-w", finished)
    assert "no such file" in sentence(m3tr("bank", "append", tmp_path, *arguments))
    assert "holds no forecaster" in sentence(
        m3tr("bank", "append", incoming, "--model", model, "-w", tmp_path)
    )
    data = tmp_path / "data"
    shutil.copytree(incoming, data)
    pl.read_parquet(data / "feedback.parquet").with_columns(kind=pl.lit("wave")).write_parquet(
        data / "feedback.parquet"
    )
    assert "no feedback has the target kind" in sentence(m3tr("bank", "append", data, *arguments))
    assert not model.exists()
    shutil.copytree(own, model)
    there = contents(model)
    (data / "feedback.parquet").write_text("broken")
    assert "not a readable parquet" in sentence(m3tr("bank", "append", data, *arguments))
    assert contents(model) == there and contents(finished) == before
