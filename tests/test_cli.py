"""The command line: its verbs, its mistakes, and data in and out."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

STAGES = ["ingest", "validate", "features", "trajectories", "bank", "train", "evaluate", "register"]
VERBS = [*STAGES, "simulate", "import", "run", "results", "explain"]

Call = Callable[..., tuple[int, str, str]]


def sentence(told: tuple[int, str, str]) -> str:
    """The one sentence of a call that failed."""
    status, _, err = told
    assert status == 1
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_help_lists_the_verbs(m3tr: Call) -> None:
    status, out, _ = m3tr("--help")
    assert status == 0
    assert [verb for verb in VERBS if verb not in out] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(m3tr: Call, verb: str) -> None:
    status, out, _ = m3tr(verb, "--help")
    assert status == 0 and "Usage" in out


def test_help_is_quick_and_light() -> None:
    heavy = ("torch", "transformers", "mlflow", "great_expectations", "faiss", "lightgbm", "dvc")
    code = (
        "import sys; sys.argv = ['m3tr', '--help']\nfrom m3tr import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    start = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert time.process_time() - start < 5


def test_unknown_verbs_and_options(m3tr: Call) -> None:
    for wrong, words in (
        (("fly",), "No such command 'fly'"),
        (("ingest", "--fast"), "No such option"),
        (("simulate",), "Missing option '--out'"),
        (("simulate", "--out", "x", "--videos", "many"), "'many' is not a valid integer"),
        (("simulate", "--out", "x", "--videos", "0"), "not in the range"),
    ):
        status, _, err = m3tr(*wrong)
        assert status == 2
        # the box that typer draws breaks lines
        assert words in " ".join(err.replace("│", " ").split())


def test_no_verb_shows_the_help(m3tr: Call) -> None:
    status, out, _ = m3tr()
    assert status == 2 and "simulate" in out


def test_results_before_a_run(m3tr: Call, tmp_path: Path) -> None:
    told = sentence(m3tr("results", "-w", tmp_path))
    assert "reports/results.md is missing: run the pipeline first" in told


def test_a_workspace_that_is_none(m3tr: Call, tmp_path: Path) -> None:
    for verb in ("ingest", "run"):
        told = sentence(m3tr(verb, "-w", tmp_path / "nowhere"))
        assert "nowhere/params.yaml cannot be read: copy the one of the repository" in told
    (tmp_path / "file").write_text("x")
    assert "params.yaml cannot be read" in sentence(m3tr("ingest", "-w", tmp_path / "file"))
    (tmp_path / "params.yaml").write_text("name: x\n")
    told = sentence(m3tr("run", "-w", tmp_path))
    assert "data/videos.parquet is missing" in told and "`m3tr import`" in told
    # nothing was set up where there is nothing to do
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "params.yaml"]


def test_a_stage_that_is_none(m3tr: Call, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("name: x\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/videos.parquet").write_text("x")
    told = sentence(m3tr("run", "-w", tmp_path, "--stage", "fly"))
    assert "no stage is called 'fly': use one of ingest, validate" in told


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve simulated videos with media files, in a folder with a space in its name."""
    from m3tr.stages import simulate_data

    folder = tmp_path_factory.mktemp("source") / "a world"
    simulate_data(folder, videos=12, seed=5, media=True)
    return folder


def test_simulate_then_import(m3tr: Call, simulated: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "my videos"
    source = simulated / "data"
    status, out, _ = m3tr("import", "--source", "parquet", "--from", source, "-w", workspace)
    assert status == 0
    assert "videos: 12" in out and "media_missing: 0" in out
    keys = {"videos": ["video_id"], "feedback": ["video_id", "time", "kind", "count"]}
    for name, key in keys.items():
        there = pl.read_parquet(source / f"{name}.parquet").sort(key)
        here = pl.read_parquet(workspace / f"data/{name}.parquet").sort(key)
        assert here.select(there.columns).equals(there)
    for name in pl.read_parquet(source / "videos.parquet")["media"].drop_nulls():
        assert (workspace / "data" / name).read_bytes() == (source / name).read_bytes()
    assert pl.read_parquet(workspace / "data/rejected.parquet").is_empty()


def test_simulation_repeats_itself(m3tr: Call, simulated: Path, tmp_path: Path) -> None:
    arguments = ("--videos", 12, "--seed", 5, "--no-media")
    assert m3tr("simulate", "--out", tmp_path, *arguments)[0] == 0
    for name in ("videos", "feedback"):
        once, again = (
            pl.read_parquet(folder / f"data/{name}.parquet") for folder in (simulated, tmp_path)
        )
        same = [c for c in once.columns if c != "media"]
        assert again.select(same).equals(once.select(same))


def test_nothing_is_overwritten_unasked(m3tr: Call, simulated: Path, tmp_path: Path) -> None:
    arguments = ("import", "--source", "parquet", "--from", simulated / "data", "-w", tmp_path)
    assert m3tr(*arguments)[0] == 0
    table = tmp_path / "data/videos.parquet"
    before = table.stat().st_mtime_ns, table.read_bytes()
    told = sentence(m3tr(*arguments))
    assert "data: exists already; name another workspace, or use --force" in told
    told = sentence(m3tr("simulate", "--out", tmp_path, "--videos", 3, "--no-media"))
    assert "videos.parquet exists; choose another folder" in told
    assert (table.stat().st_mtime_ns, table.read_bytes()) == before
    assert m3tr(*arguments, "--drop", "creator_followers", "--force")[0] == 0
    assert "creator_followers" not in pl.read_parquet(table).columns
    assert (simulated / "data/videos.parquet").exists()


def test_import_mistakes(m3tr: Call, simulated: Path, tmp_path: Path) -> None:
    def told(source: str, folder: Path, *more: str, into: str = "new") -> str:
        arguments = ("--source", source, "--from", folder, "-w", tmp_path / into, *more)
        return sentence(m3tr("import", *arguments))

    data = simulated / "data"
    assert "use one of parquet, snapshots" in told("csv", data)
    assert "no such folder; name the folder" in told("parquet", data / "videos.parquet")
    assert "snapshots.parquet: no such file" in told("snapshots", data)
    assert "the column 'mood' is missing" in told("parquet", data, "--drop", "mood")
    assert "'video_id' is needed and cannot be dropped" in told(
        "parquet", data, "--drop", "video_id"
    )
    # a CSV under the name of a parquet file
    (tmp_path / "csv").mkdir()
    videos = pl.read_parquet(data / "videos.parquet")
    videos.write_csv(tmp_path / "csv/videos.parquet")
    assert "not a readable parquet file; write it again" in told("parquet", tmp_path / "csv")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("x")
    assert "check that the path is right" in told("parquet", data, into="file")
    assert "check that the path is right" in sentence(
        m3tr("simulate", "--out", tmp_path / "file", "--videos", 3, "--no-media")
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(m3tr: Call, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    told = sentence(m3tr("simulate", "--out", tmp_path / "x", "--videos", 3, "--no-media"))
    assert "Permission denied" in told and "may write there" in told
