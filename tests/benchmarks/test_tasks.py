"""The protocol's tasks: settings the library reads, folds, and runs that can be taken up again."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from m3tr.baselines.rows import baselines
from m3tr.features.parts import MODALITIES
from tests.benchmarks.test_benchmarks import benchmark

REPOSITORY = Path(__file__).resolve().parents[2]
TASKS = ("Y1", "Y3", "Y6", "W1", "W6", "W24", "T0", "S400", "S5000")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))


@pytest.mark.parametrize("name", TASKS)
def test_the_settings_of_every_fold_are_read_by_the_library(name: str, tmp_path: Path) -> None:
    from benchmarks.tasks import TASKS as KNOWN
    from benchmarks.tasks import settings
    from benchmarks.workspaces import write_settings
    from m3tr.config import read_params

    task = KNOWN[name]
    seen = set()
    for fold in range(len(task.folds)):
        write_settings(tmp_path, settings(task, fold))
        params = read_params(tmp_path)
        assert params.name == task.dataset
        assert params.evaluate.n_jobs == 1
        seen.add(params.task.model_dump_json())
    assert len(seen) == len(task.folds)
    assert len(task.folds) == {"Y": 5, "W": 4, "T": 1, "S": 1}[name[0]]


def test_every_youtube_task_ends_on_the_same_days() -> None:
    from benchmarks.tasks import TASKS as KNOWN
    from benchmarks.tasks import settings
    from m3tr.data.settings import TaskSettings

    ends = set()
    for name in ("Y1", "Y3", "Y6"):
        task = TaskSettings(**settings(KNOWN[name], 0)["task"])
        assert task.observe.until is not None
        ends.add(tuple((task.observe.until + h).isoformat() for h in task.horizons))
    assert ends == {tuple(f"2021-05-{d:02}T12:00:00+00:00" for d in (6, 13, 20))}


def test_no_ablation_takes_away_what_is_not_there() -> None:
    from benchmarks.tasks import ABLATIONS, differs, settings
    from benchmarks.tasks import TASKS as KNOWN
    from benchmarks.workspaces import merged
    from m3tr.config import Params

    cold = [v.name for v in ABLATIONS if not differs(v, settings(KNOWN["T0"], 0))]
    assert {"-MHP", "THP", "eta=1", "-supervised key"} < set(cold)
    assert not {"-retrieval", "-text", "-boosted heads"} & set(cold)
    for name in ("Y1", "W24", "S400"):
        same = {v.name for v in ABLATIONS if not differs(v, settings(KNOWN[name], 0))}
        known = {"-visual", "-audio", "-modalities", *(f"{m} alone" for m in MODALITIES)}
        assert same == (set() if name == "S400" else known)
        for variant in ABLATIONS:
            Params.model_validate(merged(settings(KNOWN[name], 0), variant.changes))


def test_every_task_is_in_the_protocol() -> None:
    from benchmarks.tasks import TASKS as KNOWN

    text = (REPOSITORY / "docs" / "protocol.md").read_text()
    assert tuple(KNOWN) == TASKS
    for name in TASKS:
        assert f"| {name} |" in text


def test_posts_become_two_tables_whose_label_is_their_popularity(tmp_path: Path) -> None:
    from benchmarks.tiktok import write_tables
    from m3tr.stages import import_data

    source, tables = tmp_path / "source", tmp_path / "tables"
    source.mkdir()
    pl.DataFrame(
        {
            "video_id": ["a", "b", "c"],
            "popularity": [10.0, 1.22, None],
            "split": ["train", "train", "test"],
            "user_follower_count": [1, 2, 3],
            "user_cluster_label": [1, 2, 3],
            "audio_cluster_label": [7, 8, 9],
            "video_duration": [12, 30, 60],
            "post_text_language": ["en"] * 3,
            "video_format": ["mp4"] * 3,
            "published_at": ["2023-01-01T00:00:00Z"] * 3,
        }
    ).with_columns(pl.col("published_at").str.to_datetime(time_zone="UTC")).write_parquet(
        source / "videos.parquet"
    )
    write_tables(source, tables)
    import_data("parquet", tables, tmp_path / "ws", [], target="view", force=False)
    feedback = pl.read_parquet(tmp_path / "ws" / "data" / "feedback.parquet").sort("video_id")
    assert feedback["count"].to_list() == [1023, 1]
    videos = pl.read_parquet(tmp_path / "ws" / "data" / "videos.parquet")
    kept = {"video_id", "audio_cluster_label", "duration_s", "language", "published_at"}
    assert set(videos.columns) == kept
    assert videos["audio_cluster_label"].dtype == pl.String


def test_unknown_tasks_and_no_processes_are_one_sentence(tmp_path: Path) -> None:
    for arguments, words in (
        (("results", "--tasks", "Y1,Y9"), "no task is called 'Y9'"),
        (("ablations", "--tasks", "all"), "no task is called 'all'"),
        (("accuracy", "--task", "Y1"), "sample has no task 'Y1': name one of S400"),
        (("results", "--tasks", "S400", "--jobs", "0"), "--jobs 0"),
        (("results", "--tasks", "S400", "--skip", "TPH"), "--skip TPH: name some of -Mamba"),
        (("results", "--tasks", "S400", "--track"), "--track: say where by --keep or MLFLOW"),
    ):
        done = benchmark(*arguments, M3TR_REAL_DATA=str(tmp_path), MLFLOW_TRACKING_URI="")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert words in done.stderr


@pytest.mark.slow
def test_a_fold_is_run_once_for_results_ablations_and_accuracy(tmp_path: Path) -> None:
    from benchmarks.tasks import ABLATIONS

    keep, out = tmp_path / "keep", tmp_path / "out"
    common = ("--quick", "--jobs", "1", "--keep", str(keep))
    first = benchmark("results", *common, "--tasks", "S400", "--skip", "THP,MMRA-like")
    assert first.returncode == 0, first.stderr[-2000:]
    earlier = json.loads(first.stdout.splitlines()[-1])["S400"]
    fold = keep / "tasks" / "S400" / "0"
    before = (fold / "videos.parquet").stat().st_mtime_ns
    # one that fits the process anew, one without a bank, one from which a modality is hidden
    few = {"-Mamba", "-retrieval", "-text"}
    rest = ",".join(v.name for v in ABLATIONS if v.name not in few)
    ablated = benchmark("ablations", *common, "--tasks", "S400", "--skip", rest)
    assert ablated.returncode == 0, ablated.stderr[-2000:]
    figures = json.loads(ablated.stdout.splitlines()[-1])
    assert figures["tasks"]["S400"]["M3TR"]["validation"] == 1.0
    assert {*figures["mean"]} == few and figures["mean"]["-Mamba"]["test"] > 0
    shutil.rmtree(fold / "artifacts")  # as of folds that no ablation reads
    scored = benchmark("accuracy", *common, "--dataset", "sample")
    assert scored.returncode == 0, scored.stderr[-2000:]
    rows = json.loads(scored.stdout.splitlines()[-1])["S400"]
    assert {*rows} - {*earlier} == {"THP", "MMRA-like"}
    assert {*rows} >= {"M3TR", *(row.name for row in baselines())}
    keys = ("nmse", "nmse_sd", "src", "mae", "information")
    assert {n: rows[n] for n in earlier} == {n: {k: r[k] for k in keys} for n, r in earlier.items()}
    assert rows["M3TR"]["information"] == "CFR" and rows["mean"]["src"] is None
    # a forecaster that sees content and feedback beats those that see neither
    assert rows["M3TR"]["nmse"] < rows["last count"]["nmse"] < rows["mean"]["nmse"]
    assert rows["best attainable"]["nmse"] < rows["M3TR"]["nmse"] < rows["MMRA-like"]["nmse"]
    assert "/ LightGBM CF" in scored.stdout

    page = benchmark("results", *common, "--tasks", "S400", "--out", str(out))
    assert page.returncode == 0, page.stderr[-2000:]
    assert {*json.loads(page.stdout.splitlines()[-1])["S400"]} == {*rows}
    assert {*json.loads((out / "results.json").read_text())["tasks"]["S400"]["rows"]} == {*rows}
    assert "## Ablations" in (out / "results.md").read_text()
    assert (fold / "videos.parquet").stat().st_mtime_ns == before  # it was not run again
