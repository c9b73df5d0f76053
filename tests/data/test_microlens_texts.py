"""Titles, likes and views of MicroLens: quotes, encodings, units; each defect is counted."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from microlensfolder import T0, reasons

from m3tr.data.sources.microlens import load
from m3tr.data.sources.microlens_texts import number


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
