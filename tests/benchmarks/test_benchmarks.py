"""The benchmarks, run as a reader runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# files beside the questions
NO_QUESTIONS = {
    "__init__",
    "__main__",
    "banks",
    "clips",
    "contenders",
    "floor",
    "folds",
    "forecasts",
    "fresh",
    "harness",
    "perturbations",
    "pool",
    "results_page",
    "retrieval_world",
    "scores",
    "tasks",
    "tiktok",
    "workspaces",
}


def benchmark(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def files_of_benchmarks() -> set[str]:
    files = {p.stem for p in (REPOSITORY / "benchmarks").glob("*.py")}
    return files - NO_QUESTIONS


def test_without_a_name_the_names_are_listed() -> None:
    done = benchmark()
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert set(listed) == files_of_benchmarks()


def test_an_unknown_name_is_one_sentence() -> None:
    done = benchmark("speed")
    assert done.returncode == 1
    assert done.stdout == ""
    names = ", ".join(sorted(files_of_benchmarks()))
    assert done.stderr == f"error: no benchmark is called 'speed': name one of {names}\n"


def test_absent_data_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = benchmark(
        "accuracy", "--dataset", "youtube-2021", "--keep", str(kept), M3TR_REAL_DATA=str(tmp_path)
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'youtube-2021'} holds no dataset")
    assert not kept.exists()


@pytest.mark.parametrize("name", ["weibo-ced", "youtube-2021", "tiktok-smp"])
def test_the_settings_of_every_dataset_are_read_by_the_library(name: str, tmp_path: Path) -> None:
    from m3tr.config import read_params

    path = REPOSITORY / "benchmarks" / "params" / f"{name}.yaml"
    (tmp_path / "params.yaml").write_text(path.read_text())
    params = read_params(tmp_path)
    assert params.name == name


def test_every_way_of_the_scan_computes_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import scan

    tensors = scan.inputs((2, 37, 96, 5))
    truth = scan.step(scan.torch_autograd, tensors)
    cpp, reason = scan.compiled(tmp_path, 5)
    assert (cpp is None) == bool(reason)
    for way in filter(None, (scan.numba, scan.torch_manual, cpp)):
        for found, right in zip(scan.step(way, tensors), truth, strict=True):
            assert (found - right).abs().max() < 1e-5 * right.abs().max()
