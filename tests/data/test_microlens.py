"""The MicroLens source on folders of its published layout, made here; each defect is counted."""

import json
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mediafiles
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from m3tr import cli
from m3tr.data.importing import import_dataset
from m3tr.data.sources.mediafiles import is_partial_mp4
from m3tr.data.sources.microlens import load
from m3tr.data.sources.microlens_texts import number
from m3tr.errors import InputError

START = datetime(2022, 8, 1, tzinfo=UTC)
T0 = int(START.timestamp() * 1000)
HOUR = 3_600_000


class Folder:
    """A folder that can be filled file by file."""

    def __init__(self, path: Path, prefix: str = "MicroLens-100k") -> None:
        self.path = path
        self.prefix = prefix
        path.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.path / (name if name.startswith("tags") else f"{self.prefix}_{name}")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def pairs(self, *rows: tuple[object, ...], header: str = "user,item,timestamp") -> None:
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        self.write("pairs.csv", "\n".join(lines) + "\n")

    def features(self, name: str, array: np.ndarray) -> None:
        folder = self.path / "extracted_modality_features"
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{self.prefix}_{name}.npy", array, allow_pickle=True)

    def media(self, kind: str, item: int, suffix: str) -> Path:
        path = self.path / f"{self.prefix}_{kind}" / f"{item}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == "jpg":
            Image.new("RGB", (32, 24), (item % 200, 80, 120)).save(path)
        elif suffix == "wav":
            sound = mediafiles.tone(220, 0.3)
            mediafiles.write(path, None, sound, sound_codec="pcm_s16le")
        else:
            mediafiles.write(path, mediafiles.plain((item % 200, 60, 90), 3), None)
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "MicroLens-100k-Dataset")
    made.pairs((7, 1, T0 + HOUR), (8, 1, T0), (7, 2, T0 + 2 * HOUR))
    return made


def reasons(loaded, table):
    rows = loaded.rejected.filter(pl.col("table") == table)
    return rows.select("row", "video_id", "reason").rows()


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


def test_titles_with_tabs_quotes_commas_and_line_ends(folder):
    text = (
        "\ufeffitem,title\r\n"
        '1,"He said ""so"", then\tleft"\r\n'
        '2,"two\r\n3, 4 and more\r\nlines"\r\n'
        "3,a, b, c\r\n"
        '4,a "half quote\r\n'
        '5,"never closed\r\n'
        "6,after it\r\n"
        "not a row\r\n"
        "3,again\r\n"
        "7,\r\n"
        "\r\n"
        "8;semicolon\r\n"
    )
    folder.write("title_en.csv", text)
    folder.pairs(*((1, item, T0 + item) for item in (1, 2, 3, 4, 5, 6, 7, 9)))
    loaded = load(folder.path)
    titles = dict(loaded.videos.select("video_id", "title").iter_rows())
    assert titles == {
        "1": 'He said "so", then\tleft',
        "2": '"two',  # a line that begins like a row is taken for one
        "3": "a, b, c",
        "4": 'a "half quote',
        "5": '"never closed',
        "6": "after it",
        "7": None,
        "9": None,
    }
    assert loaded.figures["videos_without_title"] == 2
    assert loaded.figures["titles"]["unbalanced_quotes"] == 3
    assert [r[2] for r in reasons(loaded, "titles")] == [
        "item is a duplicate",
        "row is unreadable",
        "row is unreadable",
        "item is a duplicate",
        "row is unreadable",
    ]


def test_a_title_of_two_lines(folder):
    folder.write("titles.csv", 'item,title\n1,"two\n\nlines"\n2,"So" and "so"\n')
    assert load(folder.path).videos["title"].to_list() == ["two\n\nlines", '"So" and "so"']


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8", "utf-16"])
def test_encodings_of_chinese_titles(folder, encoding):
    folder.write("title.csv", "1,带土和琳的故事\n2,美食\n".encode(encoding))
    loaded = load(folder.path)
    assert loaded.videos["title"].to_list() == ["带土和琳的故事", "美食"]
    assert loaded.figures["titles"]["encoding"] == encoding


def test_other_encodings_and_single_broken_bytes(folder):
    folder.write("title_en.csv", "1,caf\u00e9 cr\u00e8me\n2,plain\n".encode("latin-1"))
    loaded = load(folder.path)
    assert loaded.videos["title"][0] == "caf\u00e9 cr\u00e8me"
    assert loaded.figures["titles"]["encoding"] == "latin-1"
    folder.write("title.csv", b"1," + "带土和琳的故事".encode() * 3 + b"\xff\n2,b\n")
    (folder.path / "MicroLens-100k_title_en.csv").unlink()
    assert load(folder.path).figures["titles"]["encoding"] == "utf-8 with 1 unreadable bytes"


def test_items_without_interactions_and_interactions_without_title(folder):
    folder.write("title_en.csv", "1,one\n3,three\n")
    loaded = load(folder.path)
    assert reasons(loaded, "titles") == [(1, "3", "item has no interactions")]
    assert loaded.figures["videos_without_title"] == 1
    assert loaded.videos["video_id"].to_list() == ["1", "2"]


def test_likes_and_views_are_checked_and_stay_out(folder):
    lines = [
        "1\t10\t100",
        "2\t1.2万\t3w",
        "3\t50\t9",
        "4\t\t100",
        "5\t100000000\t364000",  # 10,000 likes, once published like this
        "6\t20000\t49900000000",  # 4,990,000 views
        "7\t1.2\t30000",
        "8\tmany\t30000",
        "1\t11\t100",
        "junk",
        "9\t12.3万+\t1.5亿",
        "10\t3万万\t5",
    ]
    folder.write("likes_and_views.txt", "\r\n".join(lines))
    loaded = load(folder.path)
    assert reasons(loaded, "likes_and_views") == [
        (2, "3", "likes are above views"),
        (3, "4", "likes or views are missing"),
        (4, "5", "likes or views have their unit twice"),
        (5, "6", "likes or views have their unit twice"),
        (6, "7", "likes or views lost their unit"),
        (7, "8", "likes or views are unreadable"),
        (8, "1", "item is a duplicate"),
        (9, None, "row is unreadable"),
        (11, "10", "likes or views have their unit twice"),
    ]
    assert loaded.figures["likes_and_views"]["rows"] == 12
    # no total of a later day may become a covariate
    assert loaded.videos.columns == ["video_id", "published_at"]


def test_more_comments_than_views_are_told(folder):
    folder.write("likes_and_views.txt", "1\t1\t1\n2\t1\t10\n")
    figures = load(folder.path).figures["likes_and_views"]
    assert figures["videos_with_more_comments_than_views"] == 1


@given(
    st.integers(0, 10**6),
    st.text("0123456789", max_size=4),
    st.sampled_from([("万", 4), ("w", 4), ("W", 4), ("萬", 4), ("亿", 8)]),
    st.sampled_from(["", "+", " +"]),
    st.sampled_from(["", " "]),
)
def test_the_reader_of_wan(whole, fraction, unit, more, space):
    sign, power = unit
    text = f"{whole}{'.' if fraction else ''}{fraction}{space}{sign}{more}"
    # digits are shifted: no binary fraction can round
    expected = int(str(whole) + fraction.ljust(power, "0"))
    assert read_number(text) == expected


@given(st.integers(0, 10**15))
def test_plain_numbers_are_what_they_are(value):
    assert read_number(str(value)) == read_number(f"{value:,}") == value


@pytest.mark.parametrize("text", ["", "abc", "-3", "1.5", "1.23456万", "万", "1e5", "9" * 30, None])
def test_what_is_no_count(text):
    assert read_number(text) is None


def read_number(text):
    frame = pl.DataFrame({"t": [text]}, schema={"t": pl.String})
    return frame.select(number(pl.col("t"))).item()


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
    assert (told["media_decoded"], told["quarantined"]) == (120, 0)
