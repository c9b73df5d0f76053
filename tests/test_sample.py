"""The bundled sample: a fresh clone brings it with `dvc pull`, small and whole."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
STORE = ".dvcstore/files/md5"
MEBIBYTE = 2**20


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the last commit, as a newcomer has it, with the sample pulled as `make demo` does.

    Plain `dvc pull` also asks for the stages' outputs, which are in no remote.
    """
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no git checkout, so there is nothing to clone")
    folder = tmp_path_factory.mktemp("newcomer") / "m3tr"
    run("git", "clone", "--quiet", str(REPOSITORY), str(folder), cwd=REPOSITORY)
    assert not (folder / "data").exists()
    demo = (REPOSITORY / "Makefile").read_text().partition("\ndemo:")[2]
    pull = next(line.split() for line in demo.splitlines() if line.startswith("\tdvc pull"))
    run(sys.executable, "-m", *pull, cwd=folder)
    return folder


def committed() -> list[str]:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no git checkout")
    return run("git", "ls-files", "-z", cwd=REPOSITORY).rstrip("\0").split("\0")


def test_a_clone_gets_the_sample(clone: Path) -> None:
    data = clone / "data"
    files = [p for p in data.rglob("*") if p.is_file()]
    out = yaml.safe_load((clone / "data.dvc").read_text())["outs"][0]
    assert (len(files), sum(p.stat().st_size for p in files)) == (out["nfiles"], out["size"])
    assert out["size"] < 10 * MEBIBYTE
    videos = pl.read_parquet(data / "videos.parquet")
    assert videos.height == videos["video_id"].n_unique() == 400
    assert set(pl.read_parquet(data / "feedback.parquet")["video_id"]) <= set(videos["video_id"])
    named = videos["media"].drop_nulls()
    assert all((data / name).is_file() for name in named)
    assert run("git", "status", "--porcelain", cwd=clone) == ""


def test_the_truth_comes_with_it(clone: Path) -> None:
    truth = pl.read_parquet(clone / "data/truth.parquet")
    videos = pl.read_parquet(clone / "data/videos.parquet")
    assert set(truth["video_id"]) == set(videos["video_id"])
    assert json.loads((clone / "data/truth.json").read_text())


def test_the_sample_reads_without_a_fault(clone: Path) -> None:
    from m3tr.config import read_params
    from m3tr.data import quarantine, tables, windows

    videos = tables.read_videos(clone / "data/videos.parquet")
    feedback = tables.read_feedback(clone / "data/feedback.parquet")
    videos, feedback, rejected = quarantine.clean(videos, feedback)
    assert rejected.is_empty()
    examples, _ = windows.make_examples(videos, feedback, read_params(clone).task)
    assert examples.height > 300
    assert examples["split"].n_unique() == 3


def test_the_store_holds_the_sample_and_nothing_else() -> None:
    store = REPOSITORY / STORE
    out = yaml.safe_load((REPOSITORY / "data.dvc").read_text())["outs"][0]
    listing = store / out["md5"][:2] / out["md5"][2:]
    wanted = {entry["md5"] for entry in json.loads(listing.read_text())} | {out["md5"]}
    kept = {p.parent.name + p.name: p for p in store.glob("*/*")}
    assert set(kept) == wanted
    for digest, path in kept.items():
        assert hashlib.md5(path.read_bytes()).hexdigest() == digest.removesuffix(".dir")


def test_no_large_file_is_committed() -> None:
    paths = [REPOSITORY / name for name in committed() if not name.startswith(".dvcstore/")]
    large = [p.name for p in paths if p.is_file() and p.stat().st_size > MEBIBYTE]
    assert large == []


def test_nothing_made_is_committed() -> None:
    made = ("data/", "artifacts/", "reports/", ".mlflow/", ".venv/", ".m3tr-cache/", ".dagster/")
    assert [name for name in committed() if name.startswith(made)] == []
