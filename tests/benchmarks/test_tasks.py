"""The protocol's tasks: settings the library reads, folds, and runs that can be taken up again."""

import json
from pathlib import Path

import polars as pl
import pytest

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


def test_a_cold_start_has_no_ablation_of_what_reads_feedback() -> None:
    from benchmarks.tasks import ABLATIONS, differs, settings
    from benchmarks.tasks import TASKS as KNOWN
    from benchmarks.workspaces import merged
    from m3tr.config import Params

    cold = [v.name for v in ABLATIONS if not differs(v, settings(KNOWN["T0"], 0))]
    assert {"-MHP", "THP", "eta=1", "-supervised key"} < set(cold)
    assert not {"-retrieval", "-text", "-boosted heads"} & set(cold)
    for name in ("Y1", "W24", "S400"):
        assert all(differs(v, settings(KNOWN[name], 0)) for v in ABLATIONS)
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
        (("results", "--tasks", "S400", "--skip", "TPH"), "--skip TPH: name some of THP"),
    ):
        done = benchmark(*arguments, M3TR_REAL_DATA=str(tmp_path))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert words in done.stderr


@pytest.mark.slow
def test_results_are_taken_up_where_they_ended(tmp_path: Path) -> None:
    from benchmarks.tasks import ABLATIONS

    keep, out = tmp_path / "keep", tmp_path / "out"
    arguments = ("--quick", "--tasks", "S400", "--jobs", "1", "--keep", str(keep))
    first = benchmark("results", *arguments)
    assert first.returncode == 0, first.stderr[-2000:]
    result = keep / "tasks" / "S400" / "0" / "result.json"
    before = result.stat().st_mtime_ns
    # one that fits the process anew, one without a bank, one from which a modality is hidden
    few = {"-Mamba", "-retrieval", "-text"}
    rest = ",".join(v.name for v in ABLATIONS if v.name not in few)
    ablated = benchmark("ablations", *arguments, "--skip", rest)
    assert ablated.returncode == 0, ablated.stderr[-2000:]
    figures = json.loads(ablated.stdout.splitlines()[-1])
    assert figures["tasks"]["S400"]["M3TR"]["validation"] == 1.0
    assert {*figures["mean"]} == few and figures["mean"]["-Mamba"]["test"] > 0
    again = benchmark("results", *arguments, "--out", str(out))
    assert again.returncode == 0, again.stderr[-2000:]
    assert result.stat().st_mtime_ns == before
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    rows = json.loads((out / "results.json").read_text())["tasks"]["S400"]["rows"]
    assert rows["best attainable"]["nmse"] < rows["M3TR"]["nmse"] < rows["mean"]["nmse"]
    assert "## Ablations" in (out / "results.md").read_text()
