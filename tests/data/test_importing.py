"""Import: all or nothing, media beside the tables, an existing folder is safe."""

import os
import shutil
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from m3tr.data.importing import import_dataset
from m3tr.data.tables import read_feedback, read_videos
from m3tr.errors import InputError

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def source(tmp_path):
    src = tmp_path / "src"
    (src / "media").mkdir(parents=True)
    (src / "media" / "a.mp4").write_bytes(b"film")
    (src / "media" / "unused.mp4").write_bytes(b"other")
    pl.DataFrame(
        {
            "video_id": ["a", "b", "a"],
            "published_at": [NOON] * 3,
            "media": ["media/a.mp4", "media/gone.mp4", None],
            "rumor": [1, 0, 1],
        }
    ).write_parquet(src / "videos.parquet")
    pl.DataFrame(
        {
            "video_id": ["a", "b", "a"],
            "time": [NOON + timedelta(hours=1), NOON, NOON - timedelta(hours=1)],
            "kind": ["view", "view", "like"],
        }
    ).write_parquet(src / "feedback.parquet")
    return src


def test_a_dataset_is_imported_with_its_media_and_its_rejected_rows(source, tmp_path):
    workspace = tmp_path / "new" / "workspace"
    report = import_dataset("parquet", source, workspace, ["rumor"])
    data = workspace / "data"
    assert sorted(p.name for p in workspace.iterdir()) == ["data"]
    assert sorted(os.listdir(data)) == [
        "feedback.parquet",
        "media",
        "rejected.parquet",
        "videos.parquet",
    ]
    assert (data / "media" / "a.mp4").read_bytes() == b"film"
    assert os.listdir(data / "media") == ["a.mp4"]
    videos, feedback = (
        read_videos(data / "videos.parquet"),
        read_feedback(data / "feedback.parquet"),
    )
    assert videos.columns == ["video_id", "published_at", "media"]
    assert feedback["count"].to_list() == [1, 1]
    rejected = pl.read_parquet(data / "rejected.parquet")
    assert rejected.select("table", "row", "video_id", "reason").rows() == [
        ("videos", 2, "a", "video_id is a duplicate"),
        ("feedback", 2, "a", "time is before publication"),
    ]
    assert report["rejected"]["feedback"] == {"time is before publication": 1}
    assert (report["videos"], report["feedback"], report["kinds"]) == (2, 2, {"view": 2})
    assert (report["media_copied"], report["media_missing"]) == (1, 1)


def test_an_existing_folder_is_kept_unless_forced(source, tmp_path):
    kept = tmp_path / "data" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        import_dataset("parquet", source, tmp_path)
    assert kept.read_text() == "mine"
    import_dataset("parquet", source, tmp_path, force=True)
    assert not kept.exists()
    assert (tmp_path / "data" / "videos.parquet").is_file()
    # a workspace's own folder can be renewed from itself
    import_dataset("parquet", tmp_path / "data", tmp_path, force=True)
    assert (tmp_path / "data" / "media" / "a.mp4").read_bytes() == b"film"


def test_a_failed_import_leaves_nothing_behind(source, tmp_path):
    workspace = tmp_path / "workspace"
    pl.DataFrame({"video_id": ["q"], "time": [NOON], "kind": ["view"]}).write_parquet(
        source / "feedback.parquet"
    )
    with pytest.raises(InputError, match="no usable row is left for the feedback table"):
        import_dataset("parquet", source, workspace)
    assert not workspace.exists()
    with pytest.raises(InputError, match="use one of parquet, snapshots"):
        import_dataset("csv", source, workspace)
    with pytest.raises(InputError, match="no such folder"):
        import_dataset("parquet", tmp_path / "nowhere", workspace)


def test_an_interrupted_copy_keeps_the_old_data(source, tmp_path, monkeypatch):
    import_dataset("parquet", source, tmp_path)
    before = (tmp_path / "data" / "videos.parquet").read_bytes()
    real = os.rename

    def full_disk(old, new):
        if os.path.basename(new) == "data" and os.path.basename(old) == "data":
            raise OSError("no space left")
        real(old, new)

    monkeypatch.setattr(os, "rename", full_disk)
    with pytest.raises(OSError, match="no space"):
        import_dataset("parquet", source, tmp_path, force=True)
    assert (tmp_path / "data" / "videos.parquet").read_bytes() == before


def test_links_take_no_space_and_leave_the_source_as_it_was(source, tmp_path):
    workspace, film = tmp_path / "workspace", source / "media" / "a.mp4"
    report = import_dataset("parquet", source, workspace, link=True)
    assert (report["media_linked"], report["media_copied"], report["media_missing"]) == (1, 0, 1)
    assert (workspace / "data/media/a.mp4").samefile(film)
    # a copy is the default, also of what was linked before
    import_dataset("parquet", source, workspace, force=True)
    assert film.stat().st_nlink == 1 and film.read_bytes() == b"film"


TOTALS = [
    "views",
    "like_count",
    "shareCount",
    "num_comments",
    "n_plays",
    "replies",
    "digg_count",
    "plays",
]


@pytest.mark.parametrize("name", TOTALS)
@pytest.mark.parametrize("source_name", ["parquet", "own-data"])
def test_a_total_of_feedback_is_no_covariate(source, tmp_path, name, source_name):
    feedback = pl.read_parquet(source / "feedback.parquet")
    more = feedback.head(1).with_columns(kind=pl.lit("reply"))
    pl.concat([feedback, more]).write_parquet(source / "feedback.parquet")
    videos = pl.read_parquet(source / "videos.parquet")
    videos.with_columns(pl.lit(5).alias(name)).write_parquet(source / "videos.parquet")
    with pytest.raises(InputError, match=f"column '{name}' .*--drop {name}") as caught:
        import_dataset(source_name, source, tmp_path / "workspace")
    assert "\n" not in str(caught.value) and not (tmp_path / "workspace").exists()
    report = import_dataset(source_name, source, tmp_path / "workspace", [name])
    assert report["dropped"] == [name]


def test_what_was_known_at_publication_is_a_covariate(source, tmp_path):
    known = {"creator_views": 3, "user_likes_count": 4, "pictures": 2, "word_count": 7, "\u6570": 1}
    videos = pl.read_parquet(source / "videos.parquet").with_columns(
        **{name: pl.lit(value) for name, value in known.items()}, likes=pl.lit("funny")
    )
    videos.write_parquet(source / "videos.parquet")
    import_dataset("parquet", source, tmp_path / "workspace")
    kept = pl.read_parquet(tmp_path / "workspace/data/videos.parquet")
    assert {*known, "likes"} <= set(kept.columns)


def test_what_cannot_be_linked_is_copied(source, tmp_path, monkeypatch):
    def other_file_system(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_file_system)
    report = import_dataset("parquet", source, tmp_path / "workspace", link=True)
    assert (report["media_linked"], report["media_copied"]) == (0, 1)


def test_an_interrupted_import_across_file_systems_does_not_copy_again(
    source, tmp_path, monkeypatch
):
    def other_file_system(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_file_system)
    copied, real = [], shutil.copy2
    monkeypatch.setattr(shutil, "copy2", lambda *a: (copied.append(a[0].name), real(*a)))
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        import_dataset("parquet", source, tmp_path, link=True)
    monkeypatch.setattr(os, "rename", rename)
    import_dataset("parquet", source, tmp_path, link=True)
    assert copied == ["a.mp4"]
    assert (tmp_path / "data/media/a.mp4").read_bytes() == b"film"


def test_an_interrupted_import_of_links_ends_with_links(source, tmp_path, monkeypatch):
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        import_dataset("parquet", source, tmp_path, link=True)
    monkeypatch.setattr(os, "rename", rename)
    report = import_dataset("parquet", source, tmp_path, link=True)
    film = source / "media/a.mp4"
    assert report["media_linked"] == 1 and film.stat().st_nlink == 2
    assert (tmp_path / "data/media/a.mp4").samefile(film)


def test_a_second_import_into_the_workspace_waits_its_turn(source, tmp_path, monkeypatch):
    other, told, real = tmp_path / "other", [], shutil.copy2
    shutil.copytree(source, other)

    def copy(here, there):
        if not told:
            told.append(None)
            with pytest.raises(InputError, match="another import is writing") as caught:
                import_dataset("parquet", other, tmp_path / "workspace")
            told[0] = str(caught.value)
        real(here, there)

    monkeypatch.setattr(shutil, "copy2", copy)
    report = import_dataset("parquet", source, tmp_path / "workspace")
    assert report["media_copied"] == 1 and "\n" not in told[0]
    import_dataset("parquet", other, tmp_path / "workspace", force=True)


def test_a_link_under_the_name_of_a_table_does_not_reach_the_source(source, tmp_path):
    videos = pl.read_parquet(source / "videos.parquet")
    videos.with_columns(media=pl.lit("videos.parquet")).write_parquet(source / "videos.parquet")
    before = (source / "videos.parquet").read_bytes()
    import_dataset("parquet", source, tmp_path / "workspace", link=True)
    assert (source / "videos.parquet").read_bytes() == before


def test_an_interrupted_import_goes_on_where_it_stopped(source, tmp_path, monkeypatch):
    names = [f"media/{i}.mp4" for i in range(4)]
    for name in names:
        (source / name).write_bytes(name.encode())
    pl.DataFrame(
        {"video_id": ["a", "b", "c", "d"], "published_at": [NOON] * 4, "media": names}
    ).write_parquet(source / "videos.parquet")
    copied, real = [], shutil.copy2

    def copy(here, there):
        copied.append(here.name)
        if len(copied) == 3:
            there.write_bytes(b"half")
            there.chmod(0o444)
            raise KeyboardInterrupt
        real(here, there)

    monkeypatch.setattr(shutil, "copy2", copy)
    with pytest.raises(KeyboardInterrupt):
        import_dataset("parquet", source, tmp_path)
    assert not (tmp_path / "data").exists()
    # changed since then, and no longer named
    (source / names[0]).write_bytes(b"new")
    pl.read_parquet(source / "videos.parquet").filter(pl.col("video_id") != "b").write_parquet(
        source / "videos.parquet"
    )
    report = import_dataset("parquet", source, tmp_path)
    assert copied[3:] == ["0.mp4", "2.mp4", "3.mp4"]
    assert report["media_copied"] == 3
    assert sorted(os.listdir(tmp_path / "data/media")) == ["0.mp4", "2.mp4", "3.mp4"]
    assert (tmp_path / "data/media/0.mp4").read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "src"]
