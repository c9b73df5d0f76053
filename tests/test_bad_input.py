"""Bad input through the command line: one sentence, nothing lost, good rows survive."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from m3tr import cli

PARAMS = """
name: bad input
task: {observe: {age: 1d}, horizons: [2d, 4d], fractions: [0.5, 0.2, 0.3], embargo: false}
quality: {min_examples: 5, max_quarantined: 0.1, max_missing_media: 0.2}
features: {visual: {frames: 2}, audio: {segments: 2}, workers: 1}
"""
VIDEOS, FEEDBACK = "data/videos.parquet", "data/feedback.parquet"
REJECTED, QUARANTINE = "artifacts/tables/rejected.parquet", "artifacts/quarantine.parquet"
TO_DISTANT_PAST = pl.col("time") - timedelta(days=4000)

Change = Callable[[pl.DataFrame], pl.DataFrame]


class Told:
    """What one call of the command line gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def sentence(self) -> str:
        """The only error; fails where there is another or a stack trace."""
        assert self.status == 1, (self.status, self.err)
        assert "Traceback" not in self.err + self.out
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.err
        assert self.err.rstrip().splitlines()[-1] == errors[0]
        return errors[0]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty simulated videos, an empty tracking store, and what the media files give, cached."""
    folder = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "argv", ["m3tr", "simulate", "--out", str(folder), "--videos", "40"])
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert not done.value.code
        (folder / "params.yaml").write_text(PARAMS)
        from m3tr.registry.connection import connect

        connect(folder)
        import mlflow

        mlflow.search_experiments()
        for stage in ("ingest", "features"):
            patch.setattr(sys, "argv", ["m3tr", stage, "-w", str(folder)])
            with pytest.raises(SystemExit) as done:
                cli.main()
            assert not done.value.code
            # MLflow sets it for its children
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for made in ("artifacts", "reports"):
        shutil.rmtree(folder / made)
    return folder


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "my videos"))


@pytest.fixture
def m3tr(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Told]:
    """Run a stage on the workspace, as `m3tr STAGE -w WORKSPACE` does."""

    def run(stage: str) -> Told:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.setattr(sys, "argv", ["m3tr", stage, "-w", str(workspace)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        return Told(end.value.code or 0, told.out, told.err)

    yield run
    # MLflow sets it outside of monkeypatch's sight
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def edit(workspace: Path, name: str, change: Change) -> pl.DataFrame:
    """Change a table in place; the table before."""
    table = pl.read_parquet(workspace / name)
    change(table).write_parquet(workspace / name)
    return table


def digests(workspace: Path) -> dict[str, str]:
    files = sorted(p for p in (workspace / "data").rglob("*") if p.is_file())
    return {
        str(p.relative_to(workspace)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def on_rows(n: int, **columns: pl.Expr) -> Change:
    """Replace columns on the rows 3, 4, ... n + 2."""
    there = pl.int_range(pl.len()).is_between(3, n + 2)

    def change(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(
            pl.when(there).then(new).otherwise(pl.col(name)).alias(name)
            for name, new in columns.items()
        )

    return change


# file, what is done to it, what the sentence must hold beside the file's name
TABLES: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "no published_at": (
        VIDEOS,
        lambda t: t.rename({"published_at": "date"}),
        ("the column 'published_at' is missing", "add or rename it"),
    ),
    "no kind": (FEEDBACK, lambda t: t.drop("kind"), ("'kind' is missing", "add or rename it")),
    "counts are text": (
        FEEDBACK,
        lambda t: t.with_columns(pl.col("count").cast(pl.String)),
        ("the column 'count' must hold numbers, not String", "cast it to integers"),
    ),
    "times are floats": (
        FEEDBACK,
        lambda t: t.with_columns(time=pl.lit(1.5)),
        ("the column 'time' must hold times", "cast it"),
    ),
    "times are words": (
        VIDEOS,
        lambda t: t.with_columns(published_at=pl.lit("yesterday")),
        ("no ISO 8601 time (row 0: 'yesterday')", "write times as in"),
    ),
    "ids are lists": (
        VIDEOS,
        lambda t: t.with_columns(video_id=pl.concat_list("video_id")),
        ("'video_id' must hold text", "cast it to strings"),
    ),
    "no videos": (VIDEOS, lambda t: t.clear(), ("has no rows", "export it again")),
    "no feedback": (FEEDBACK, lambda t: t.clear(), ("has no rows", "export it again")),
}


@pytest.mark.parametrize(("name", "change", "words"), TABLES.values(), ids=TABLES.keys())
def test_a_table_of_another_shape(
    workspace: Path,
    m3tr: Callable[[str], Told],
    name: str,
    change: Change,
    words: tuple[str, ...],
) -> None:
    edit(workspace, name, change)
    before = digests(workspace)
    sentence = m3tr("ingest").sentence
    assert name in sentence
    assert all(part in sentence for part in words), sentence
    assert digests(workspace) == before
    assert not (workspace / "artifacts/tables").exists()


# file, bad rows from row 3 on, reason of the quarantine, start of its remedy
ROWS: dict[str, tuple[str, dict[str, pl.Expr], str, str]] = {
    "feedback before publication": (
        FEEDBACK,
        {"time": TO_DISTANT_PAST},
        "time is before publication",
        "check published_at and the time zone",
    ),
    "unknown video ids": (
        FEEDBACK,
        {"video_id": pl.lit("nobody")},
        "video_id is not in the videos table",
        "add the video",
    ),
    "NaN counts": (FEEDBACK, {"count": pl.lit(float("nan"))}, "count is missing", "fill in the"),
    "negative counts": (FEEDBACK, {"count": -pl.col("count")}, "count is negative", "write incr"),
    "broken counts": (FEEDBACK, {"count": pl.lit(1.5)}, "count is not a whole number", "write who"),
    "no time": (FEEDBACK, {"time": pl.lit(None)}, "time is missing or unreadable", "fill in time"),
    "duplicate ids": (
        VIDEOS,
        {"video_id": pl.lit("v000000")},
        "video_id is a duplicate",
        "keep one row per video",
    ),
    "no ids": (VIDEOS, {"video_id": pl.lit(" ")}, "video_id is missing", "fill in video_id"),
    "media elsewhere": (
        VIDEOS,
        {"media": pl.lit("/etc/") + pl.col("video_id")},
        "media path leaves the data folder",
        "name the media file relative",
    ),
}


def test_rows_that_the_import_set_aside_count_too(
    workspace: Path, m3tr: Callable[[str], Told]
) -> None:
    from m3tr.data import quarantine

    rows = [("videos", i, f"lost{i}", "video_id is missing", "fill in video_id") for i in range(9)]
    known = pl.DataFrame(rows, schema=quarantine.SCHEMA, orient="row")
    known.head(4).write_parquet(workspace / "data/rejected.parquet")
    assert m3tr("ingest").status == 0  # 4 of 44
    known.write_parquet(workspace / "data/rejected.parquet")
    sentence = m3tr("ingest").sentence
    assert "9 of 49 rows" in sentence and "row 0 (video_id is missing)" in sentence


@pytest.mark.parametrize(("name", "columns", "reason", "remedy"), ROWS.values(), ids=ROWS.keys())
def test_too_many_bad_rows_stop_the_pipeline(
    workspace: Path,
    m3tr: Callable[[str], Told],
    name: str,
    columns: dict[str, pl.Expr],
    reason: str,
    remedy: str,
) -> None:
    n = pl.read_parquet(workspace / name).height // 2
    edit(workspace, name, on_rows(n, **columns))
    before = digests(workspace)
    sentence = m3tr("ingest").sentence
    for part in (name, f"the first is row 3 ({reason})", remedy, "quality.max_quarantined = 0.1"):
        assert part in sentence
    assert REJECTED in sentence
    listed = pl.read_parquet(workspace / REJECTED).filter(pl.col("reason") == reason)
    assert listed["row"].to_list() == list(range(3, n + 3))
    assert listed["remedy"].str.starts_with(remedy).all()
    assert digests(workspace) == before
    # nothing but what was set aside
    assert [p.name for p in (workspace / "artifacts/tables").iterdir()] == ["rejected.parquet"]


@pytest.mark.parametrize(("name", "columns", "reason", "remedy"), ROWS.values(), ids=ROWS.keys())
def test_few_bad_rows_are_set_aside(
    workspace: Path,
    m3tr: Callable[[str], Told],
    name: str,
    columns: dict[str, pl.Expr],
    reason: str,
    remedy: str,
) -> None:
    table = edit(workspace, name, on_rows(2, **columns))
    before = digests(workspace)
    told = m3tr("ingest")
    assert told.status == 0, told.err
    quarantine = pl.read_parquet(workspace / REJECTED)
    assert quarantine.filter(pl.col("reason") == reason)["row"].to_list() == [3, 4]
    # every row of the source is either kept or set aside
    file = Path(name).stem
    kept = pl.read_parquet(workspace / f"artifacts/tables/{file}.parquet")
    gone = quarantine.filter(pl.col("table") == file).height
    assert kept.height + gone == table.height
    if file == "feedback":
        good = table.with_row_index().filter(~pl.col("index").is_in([3, 4])).drop("index")
        order = ["video_id", "time", "kind", "count"]
        assert kept.sort(order).equals(good.select(order).sort(order))
    else:
        assert kept["video_id"].n_unique() == table.height - 2
    assert digests(workspace) == before


def test_several_faults_at_once(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    edit(workspace, FEEDBACK, on_rows(1, time=TO_DISTANT_PAST))
    edit(workspace, FEEDBACK, lambda t: on_rows(1, count=pl.lit(-2))(t.reverse()))
    assert m3tr("ingest").status == 0
    reasons = pl.read_parquet(workspace / REJECTED)["reason"].to_list()
    assert sorted(reasons) == ["count is negative", "time is before publication"]


@pytest.mark.parametrize("name", [VIDEOS, FEEDBACK])
def test_no_parquet(workspace: Path, m3tr: Callable[[str], Told], name: str) -> None:
    path = workspace / name
    whole = path.read_bytes()
    pl.read_parquet(path).head(3).select("video_id").write_csv(path)
    for content in (path.read_bytes(), whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        sentence = m3tr("ingest").sentence
        assert name in sentence and "not a readable parquet file; write it again" in sentence
        assert path.read_bytes() == content


def test_no_data(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    (workspace / FEEDBACK).unlink()
    sentence = m3tr("ingest").sentence
    assert FEEDBACK in sentence and "no such file; put the table there" in sentence
    shutil.rmtree(workspace / "data")
    sentence = m3tr("ingest").sentence
    assert VIDEOS in sentence and "no such file; put the table there" in sentence
    assert "bring the tables there" in m3tr("run").sentence


SETTINGS = {
    "unknown key": ("bank: {kk: 3}", "unknown key 'bank.kk': remove it or correct its spelling"),
    "horizon in the window": ("task: {observe: {age: 3d}, horizons: [2d]}", "name a later horizon"),
    "unknown target": ("task: {target: gift}", "set task.target to one of comment, like, share"),
    "unknown group": ("task: {split: random, group_by: mood}", "name one of video_id"),
    "horizon after the data": ("task: {horizons: [500d]}", "shorten task.horizons"),
    "clock before the data": (
        "task: {split: random, observe: {until: 2001-01-01}, horizons: [2d]}",
        "40 published after the clock",
    ),
    "temporal split of one clock": ("task: {observe: {until: 2025-03-01}}", "task.split: random"),
}


@pytest.mark.parametrize(("text", "words"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_that_do_not_fit(
    workspace: Path, m3tr: Callable[[str], Told], text: str, words: str
) -> None:
    (workspace / "params.yaml").write_text(f"name: bad input\n{text}\n")
    sentence = m3tr("ingest").sentence
    assert "params.yaml" in sentence and words in sentence


def spoil(workspace: Path, n: int) -> list[str]:
    """Truncate a media file and replace others by text; the videos they belong to."""
    videos = pl.read_parquet(workspace / VIDEOS).filter(pl.col("media").str.ends_with(".mp4"))
    chosen = videos.head(n)
    for i, name in enumerate(chosen["media"]):
        path = workspace / "data" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if i == 0 else b"this is no film\n" * 20)
    return chosen["video_id"].to_list()


def test_few_broken_media_files(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    spoilt = spoil(workspace, 3)
    before = digests(workspace)
    assert m3tr("ingest").status == 0
    told = m3tr("features")
    assert told.status == 0, told.err
    quarantine = pl.read_parquet(workspace / QUARANTINE)
    assert not (workspace / "artifacts/features/quarantine.parquet").exists()
    assert set(spoilt) <= set(quarantine["video_id"])
    assert quarantine["remedy"].str.starts_with("replace the file").all()
    from m3tr.features.store import Features

    features = Features.load(workspace / "artifacts/features")
    assert len(features.ids) == 40
    assert not features.present("visual")[[features.ids.index(v) for v in spoilt]].any()
    # their texts are still there
    assert features.present("visual").sum() >= 30
    assert f"set aside: video {spoilt[0]}" in told.out
    assert digests(workspace) == before


def test_mostly_broken_media_files(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    """The stage stops, after it has listed all that is broken, in whatever stage it was found."""
    videos = edit(workspace, VIDEOS, lambda t: t.reverse())
    spoilt = spoil(workspace, 25)
    edit(workspace, FEEDBACK, on_rows(2, count=pl.lit(-1)))
    imported = {"table": "snapshots", "row": 7, "video_id": "x", "reason": "r", "remedy": "m"}
    pl.DataFrame([imported]).write_parquet(workspace / "data/rejected.parquet")
    before = digests(workspace)
    assert m3tr("ingest").status == 0
    sentence = m3tr("features").sentence
    assert "data/videos.parquet: " in sentence and "quality.max_missing_media = 0.2" in sentence
    assert ".mp4" in sentence and "replace the file" in sentence
    assert f"all are listed in {QUARANTINE}" in sentence
    quarantine = pl.read_parquet(workspace / QUARANTINE)
    assert quarantine.columns == ["table", "row", "video_id", "reason", "remedy"]
    assert quarantine.row(0, named=True) == imported
    assert quarantine.filter(table="feedback")["row"].to_list() == [3, 4]
    media = quarantine.filter(table="videos")
    assert set(spoilt) <= set(media["video_id"])
    # rows of the file as it came, in its order
    source = videos.reverse()["video_id"].to_list()
    assert media["video_id"].to_list() == [source[row] for row in media["row"]]
    assert media["row"].is_sorted()
    assert f"row {media['row'][0]}, video {media['video_id'][0]} (" in sentence
    assert digests(workspace) == before
    assert "features_visual" in (workspace / "reports/features_docs/index.html").read_text()
    report = json.loads((workspace / "reports/features.json").read_text())["figures"]
    assert report["in_quarantine"] == {"feedback": 2, "snapshots": 1, "videos": media.height}


def test_too_few_videos_have_sound(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    text = (workspace / "params.yaml").read_text()
    limit = "quality: {min_coverage: {audio: 0.99}, "
    (workspace / "params.yaml").write_text(text.replace("quality: {", limit))
    edit(workspace, VIDEOS, on_rows(3, media=pl.lit(None)))
    kept = workspace / ".m3tr-cache/features/statistics.json"
    before = kept.read_bytes()
    assert m3tr("ingest").status == 0
    sentence = m3tr("features").sentence
    assert "audio_coverage" in sentence and "lower quality.min_coverage.audio" in sentence
    assert "reports/features_docs/index.html" in sentence
    assert (workspace / QUARANTINE).exists()
    # a version that was refused is nobody's predecessor
    assert kept.read_bytes() == before


def test_features_that_moved_are_told_and_kept(
    workspace: Path, m3tr: Callable[[str], Told]
) -> None:
    kept = workspace / ".m3tr-cache/features/statistics.json"
    first = json.loads(kept.read_text())["versions"]
    assert len(first) == 1 and first[0]["rows"] == 40
    # one sentence for all: the words of the text features go elsewhere
    edit(workspace, VIDEOS, lambda t: t.with_columns(title=pl.lit("a wholly other language")))
    assert m3tr("ingest").status == 0
    for _ in range(2):  # judged again, it is held against the same version
        told = m3tr("features")
        assert told.status == 0, told.err
        warnings = [line for line in told.out.splitlines() if line.startswith("warning: ")]
        assert any("features_text: " in w and "column=shift" in w for w in warnings), told.out
        assert not any("features_visual: " in w and "column=shift" in w for w in warnings)
    assert json.loads(kept.read_text())["versions"][1] == first[0]
    kept.write_text("{")
    told = m3tr("features")
    assert told.status == 0 and f"warning: {kept} is unreadable" in told.out
    assert len(json.loads(kept.read_text())["versions"]) == 1


@pytest.mark.slow  # imports Great Expectations
def test_checks_that_fail_name_a_remedy(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    shutil.rmtree(workspace / "data/media")
    text = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(text.replace("min_examples: 5", "min_examples: 500"))
    assert m3tr("ingest").status == 0
    sentence = m3tr("validate").sentence
    assert "put the files that the column media of data/videos.parquet names under" in sentence
    assert "reports/data_docs/index.html" in sentence
    assert (workspace / "reports/data_docs/index.html").exists()
    assert not (workspace / "artifacts/validated.json").exists()
    # what came of it is in the report of the failed stage
    assert "lower quality.min_examples" in (workspace / "reports/validate.json").read_text()


@pytest.mark.slow  # imports Great Expectations
def test_raw_tables_that_contradict_themselves(
    workspace: Path, m3tr: Callable[[str], Told]
) -> None:
    swapped = pl.col("kind").replace({"view": "like", "like": "view"})
    edit(workspace, FEEDBACK, lambda t: t.with_columns(swapped))
    assert m3tr("ingest").status == 0
    sentence = m3tr("validate").sentence
    assert "raw_feedback: " in sentence and "likes_above_views" in sentence
    assert "check whether the kinds are interchanged" in sentence
    index = (workspace / "reports/data_docs/index.html").read_text()
    for name in ("raw_videos", "raw_columns", "raw_feedback", "videos", "feedback", "examples"):
        assert name in index
    assert not (workspace / "artifacts/validated.json").exists()


@pytest.mark.parametrize(
    "stage", ["validate", "features", "trajectories", "bank", "train", "evaluate", "register"]
)
def test_a_stage_before_its_time(m3tr: Callable[[str], Told], stage: str) -> None:
    assert "run the stage" in m3tr(stage).sentence


def test_an_import_quarantine_that_is_none(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    path = workspace / "data/rejected.parquet"
    path.write_text("x")
    assert "data/rejected.parquet" in m3tr("ingest").sentence
    pl.DataFrame({"a": [1]}).write_parquet(path)
    assert "import again, or remove it" in m3tr("ingest").sentence


@pytest.mark.parametrize("name", ["artifacts", "reports", ".mlflow"])
def test_a_file_where_a_folder_belongs(
    workspace: Path, m3tr: Callable[[str], Told], name: str
) -> None:
    if (workspace / name).exists():
        shutil.rmtree(workspace / name)
    (workspace / name).write_text("x")
    sentence = m3tr("ingest").sentence
    assert f"my videos/{name}" in sentence and "check that the path is right" in sentence


def test_times_without_a_zone_are_utc(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    naive = pl.col("published_at").dt.replace_time_zone(None)
    table = edit(workspace, VIDEOS, lambda t: t.with_columns(naive))
    edit(workspace, FEEDBACK, lambda t: t.with_columns(pl.col("time").dt.replace_time_zone(None)))
    assert m3tr("ingest").status == 0
    kept = pl.read_parquet(workspace / "artifacts/tables/videos.parquet")
    assert kept["published_at"].sort().equals(table["published_at"].sort())
    assert pl.read_parquet(workspace / REJECTED).is_empty()


def test_a_dataset_of_one_video(workspace: Path, m3tr: Callable[[str], Told]) -> None:
    table = edit(workspace, VIDEOS, lambda t: t.head(1))
    first = table["video_id"][0]
    edit(workspace, FEEDBACK, lambda t: t.filter(pl.col("video_id") == first))
    sentence = m3tr("ingest").sentence
    assert "too few to fill the" in sentence and "use more data" in sentence


def test_in_a_process_of_its_own(workspace: Path) -> None:
    edit(workspace, FEEDBACK, lambda t: t.drop("time"))
    command = [sys.executable, "-m", "m3tr.cli", "ingest"]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=120
    )
    told = Told(done.returncode, done.stdout, done.stderr)
    assert told.sentence.startswith("error: data/feedback.parquet: the column 'time' is missing")
