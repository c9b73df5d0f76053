"""The MicroLens source on folders of its published layout, made here; each defect is counted."""

import json
import re
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import mediafiles
import numpy as np
import pytest
from microlensfolder import HOUR, START, T0, Folder, reasons

from m3tr import cli
from m3tr.data.importing import import_dataset
from m3tr.data.sources.mediafiles import is_partial_mp4
from m3tr.data.sources.microlens import load
from m3tr.errors import InputError


def test_comments_become_feedback_and_the_first_one_publication(folder):
    loaded = load(folder.path)
    assert loaded.videos.select("video_id", "published_at").rows() == [
        ("1", START),
        ("2", START + timedelta(hours=2)),
    ]
    assert loaded.feedback.rows() == [
        ("1", START, "comment", 1),
        ("1", START + timedelta(hours=1), "comment", 1),
        ("2", START + timedelta(hours=2), "comment", 1),
    ]
    assert loaded.rejected.is_empty()
    assert loaded.figures["interactions"] == 3 and loaded.figures["users"] == 2


@pytest.mark.parametrize("prefix", ["MicroLens-50k", "MicroLens-100k", "MicroLens-1M"])
@pytest.mark.parametrize("titles", ["title_en.csv", "titles.csv", "title.csv"])
def test_any_prefix_and_any_name_of_the_titles(tmp_path, prefix, titles):
    made = Folder(tmp_path, prefix)
    made.pairs((1, 1, T0))
    made.write(titles, "1,A title\n")
    made.write("tags_to_summary.csv", "1,Food\n")
    loaded = load(tmp_path)
    assert loaded.videos.select("title", "category").rows() == [("A title", "Food")]
    assert loaded.figures["files"] == {
        "feedback": f"{prefix}_pairs.csv",
        "videos": f"{prefix}_pairs.csv",
        "titles": f"{prefix}_{titles}",
        "tags": "tags_to_summary.csv",
    }


def test_the_columns_of_the_pairs_go_by_name_or_by_place(folder):
    expected = load(folder.path).feedback
    folder.pairs((T0 + HOUR, 7, 1), (T0, 8, 1), (T0 + 2 * HOUR, 7, 2), header="timestamp,user,item")
    assert load(folder.path).feedback.equals(expected)
    folder.write("pairs.csv", f"7,1,{T0 + HOUR}\n8,1,{T0}\n7,2,{T0 + 2 * HOUR}\n")
    assert load(folder.path).feedback.equals(expected)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "ascii"])
def test_a_mark_and_windows_line_ends(folder, encoding):
    expected = load(folder.path).feedback
    text = (folder.path / "MicroLens-100k_pairs.csv").read_text().replace("\n", "\r\n")
    folder.write("pairs.csv", text.encode(encoding))
    loaded = load(folder.path)
    assert loaded.feedback.equals(expected) and loaded.rejected.is_empty()


def test_bad_interactions_are_rejected_one_by_one(folder):
    folder.pairs(
        (7, 1, T0, "more"),
        (7, "x", T0),
        (7, 1, "yesterday"),
        (7, 1, T0 // 1000),
        (7, 1, T0),
        ("", "", ""),
        (8, '"2"', f"{T0}.0"),
        (7,),
        (7, 1, T0 + 5),
    )
    loaded = load(folder.path)
    assert reasons(loaded, "feedback") == [
        (1, None, "item is missing or unreadable"),
        (2, "1", "time is missing or unreadable"),
        (3, "1", "time is missing or unreadable"),
        (4, "1", "interaction is a duplicate"),
        (5, None, "row is unreadable"),
        (7, None, "item is missing or unreadable"),
    ]
    assert loaded.rejected["remedy"].null_count() == 0
    assert loaded.feedback["video_id"].to_list() == ["1", "1", "2"]


def test_film_before_cover_before_sound(folder):
    folder.pairs(*((1, item, T0 + item) for item in range(1, 6)))
    for kind, item, suffix in (
        ("videos", 1, "mp4"),
        ("covers", 1, "jpg"),
        ("audio", 1, "wav"),
        ("covers", 2, "jpg"),
        ("audio", 2, "wav"),
        ("audios", 3, "wav"),
        ("videos", 4, "wav"),  # folders of videos that hold sound only were published, too
        ("covers", 99, "jpg"),
    ):
        folder.media(kind, item, suffix)
    loaded = load(folder.path)
    assert loaded.videos["media"].to_list() == [
        "MicroLens-100k_videos/1.mp4",
        "MicroLens-100k_covers/2.jpg",
        "MicroLens-100k_audios/3.wav",
        "MicroLens-100k_videos/4.wav",
        None,
    ]
    assert loaded.figures["media"] == {
        "video": 1,
        "picture": 1,
        "sound": 2,
        "none": 1,
        "partial_videos": 0,
        "partial_videos_replaced": 0,
        "of_no_video": 1,
    }


def test_partial_videos_give_way_to_covers(folder):
    folder.pairs(*((1, item, T0 + item) for item in (1, 2, 3)))
    whole = folder.media("videos", 1, "mp4").read_bytes()
    for item, part in ((2, whole[: len(whole) // 2]), (3, whole[:-5])):
        folder.media("videos", item, "mp4").write_bytes(part)
    folder.media("covers", 2, "jpg")
    loaded = load(folder.path)
    # without a cover the decoder shall try
    assert loaded.videos["media"].to_list() == [
        "MicroLens-100k_videos/1.mp4",
        "MicroLens-100k_covers/2.jpg",
        "MicroLens-100k_videos/3.mp4",
    ]
    assert loaded.figures["media"]["partial_videos"] == 2
    assert loaded.figures["media"]["partial_videos_replaced"] == 1


def test_what_a_partial_mp4_is(tmp_path):
    path = mediafiles.write(tmp_path / "a.mp4", mediafiles.plain((9, 9, 9), 3))
    whole = path.read_bytes()
    fast = mediafiles.write(
        tmp_path / "b.mp4", mediafiles.plain((9, 9, 9), 3), options={"movflags": "faststart"}
    ).read_bytes()
    assert whole.index(b"moov") > whole.index(b"mdat")
    assert fast.index(b"moov") < fast.index(b"mdat")
    moov_last, moov_first = len(whole), len(fast)
    cases = {
        whole: False,
        fast: False,
        whole + b"\0" * 7: False,
        whole + b"\0" * 64: False,
        whole + b"\0\0\0\1free" + (24).to_bytes(8, "big") + b"12345678": False,
        b"\x1aE\xdf\xa3 a matroska file called mp4": False,
        b"": True,
        whole[:4]: True,
        whole[: moov_last // 3]: True,
        fast[: moov_first - 1]: True,
    }
    for content, partial in cases.items():
        path.write_bytes(content)
        assert is_partial_mp4(path) is partial, content[:40]


def test_published_vectors_by_their_order_of_preference(folder):
    images, titles = np.arange(6.0).reshape(2, 3), np.ones((2, 4), np.float32)
    folder.features("image_features_CLIPRN50", images)
    folder.features("title_en_text_features_BgeM3", titles)
    loaded = load(folder.path)
    assert loaded.videos["emb_visual"].to_list() == images.tolist()
    assert loaded.figures["embeddings"] == {
        "emb_visual": "MicroLens-100k_image_features_CLIPRN50.npy",
        "emb_text": "MicroLens-100k_title_en_text_features_BgeM3.npy",
    }
    films = np.full((2, 2), 0.5, np.float32)
    films[1, 0] = np.nan
    folder.features("video_features_VideoMAE", films)
    loaded = load(folder.path, ["emb_text"])
    assert loaded.videos["emb_visual"].to_list() == [[0.5, 0.5], None]
    assert loaded.figures["embeddings"] == {
        "emb_visual": "MicroLens-100k_video_features_VideoMAE.npy",
        "emb_visual_not_finite": 1,
    }
    assert "emb_text" not in loaded.videos.columns


def test_vectors_whose_rows_are_unclear_are_left_out(folder):
    folder.features("image_features_CLIPRN50", np.ones((3, 3)))
    loaded = load(folder.path)
    assert "emb_visual" not in loaded.videos.columns
    assert "3 rows for items 1 to 2" in loaded.figures["embeddings"]["emb_visual"]
    folder.write("title_en.csv", "3,no comment\n")
    assert load(folder.path).figures["embeddings"]["emb_visual"].endswith("CLIPRN50.npy")


def test_pickles_and_cut_arrays_are_refused(folder):
    folder.features("image_features_CLIPRN50", np.array([{"a": 1}, None], object))
    with pytest.raises(InputError, match="not a readable .npy file of numbers"):
        load(folder.path)
    folder.features("image_features_CLIPRN50", np.ones((2, 3)))
    path = next(folder.path.rglob("*.npy"))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="not a readable .npy file of numbers"):
        load(folder.path)
    folder.features("image_features_CLIPRN50", np.ones(2))
    with pytest.raises(InputError, match="one row of numbers an item"):
        load(folder.path)


def test_a_folder_without_times_or_with_two_sizes(folder, tmp_path):
    Folder(folder.path, "MicroLens-50k").pairs((1, 1, T0))
    with pytest.raises(InputError, match="are both there; keep one size per folder"):
        load(folder.path)
    (tmp_path / "MicroLens-100k_pairs.tsv").write_text("1\t1 2 3\n")
    with pytest.raises(InputError, match="has no times"):
        load(tmp_path)
    folder.pairs()
    (folder.path / "MicroLens-50k_pairs.csv").rename(tmp_path / "elsewhere.csv")
    with pytest.raises(InputError, match="there are no interactions in it"):
        load(folder.path)
    folder.write("pairs.csv", "")
    with pytest.raises(InputError, match="download the file again"):
        load(folder.path)


def test_an_import_without_a_usable_row_names_the_file(folder, tmp_path):
    folder.pairs((1, 1, "never"))
    folder.write("title_en.csv", "junk\n1,one\n")
    folder.write("likes_and_views.txt", "1\t5\t1\n")
    folder.media("covers", 1, "jpg")
    folder.features("image_features_CLIPRN50", np.ones((1, 3)))
    with pytest.raises(InputError, match=r"row 0 of MicroLens-100k_pairs.csv: time is missing"):
        import_dataset("microlens", folder.path, tmp_path / "w")


@pytest.mark.slow
def test_from_the_folder_to_the_features(tmp_path, monkeypatch, capsys):
    """Import, ingest, validate, features through the command line."""

    def m3tr(*arguments):
        monkeypatch.setattr(sys, "argv", ["m3tr", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        assert not end.value.code, told.err
        return told.out

    made = Folder(tmp_path / "source")
    rng = np.random.default_rng(3)
    items, rows = range(1, 121), []
    for item in items:
        first = T0 + int(rng.uniform(0, 90 * 24 * HOUR))
        lags = np.sort(rng.exponential(70 * HOUR, rng.poisson(9))).astype(int)
        rows += [(int(rng.integers(1, 99)), item, first + int(lag)) for lag in (0, *lags)]
    made.pairs(*rows)
    made.write("title_en.csv", "".join(f'{i},"Title, number {i}"\n' for i in items))
    made.write("likes_and_views.txt", "".join(f"{i}\t1{i}\t9{i}00\n" for i in items))
    made.write("tags_to_summary.csv", "".join(f"{i},{'ab'[i % 2]}\n" for i in items))
    film, cover, sound = (
        made.media(*arguments)
        for arguments in (("videos", 1, "mp4"), ("covers", 2, "jpg"), ("audio", 3, "wav"))
    )
    for i in items[3:]:
        like = (film, cover, sound)[i % 3]
        shutil.copy(like, like.with_stem(str(i)))
    workspace = tmp_path / "workspace"
    out = m3tr("import", "--source", "microlens", "--from", made.path, "-w", workspace, "--link")
    assert "media_linked: 120" in out and "media_missing: 0" in out
    page = (Path(__file__).parents[2] / "docs/microlens.md").read_text()
    settings = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    (workspace / "params.yaml").write_text(settings[1] + "features: {visual: {frames: 2}}\n")
    for stage in ("ingest", "validate", "features"):
        m3tr(stage, "-w", workspace)
    told = json.loads((workspace / "reports/features.json").read_text())["figures"]
    assert told["present"] == {"visual": 80, "audio": 40, "text": 120}
    assert (told["media_files"], told["quarantined"]) == (120, 0)
