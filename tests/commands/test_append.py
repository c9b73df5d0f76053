"""`m3tr bank append`: what has matured, once, and nothing lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from answers import contents, figures, sentence

from m3tr.appending import append_to_bank
from m3tr.errors import InputError
from m3tr.memory.bank import Bank

Call = Callable[..., tuple[int, str, str]]


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
