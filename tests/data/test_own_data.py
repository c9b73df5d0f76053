"""A folder of media files with tables of one's own: dialects, encodings, times, media by name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3tr.data.importing import import_dataset
from m3tr.data.sources import delimited
from m3tr.data.sources.own import load
from m3tr.errors import InputError

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
VIDEOS = "video_id,published_at,title\na,2024-01-01T12:00:00Z,One\nb,2024-01-02T12:00:00Z,Two\n"
FEEDBACK = "video_id,time,kind\na,2024-01-01T13:00:00Z,view\nb,2024-01-02T12:30:00Z,like\n"


@pytest.fixture
def folder(tmp_path):
    src = tmp_path / "mine"
    src.mkdir()
    (src / "videos.csv").write_text(VIDEOS)
    (src / "feedback.csv").write_text(FEEDBACK)
    return src


def reasons(loaded):
    return loaded.rejected.select("table", "row", "reason").rows()


def test_two_csv_tables(folder):
    loaded = load(folder)
    assert loaded.videos.rows() == [("a", NOON, "One"), ("b", NOON + timedelta(days=1), "Two")]
    assert loaded.feedback.rows() == [
        ("a", NOON + timedelta(hours=1), "view", 1),
        ("b", NOON + timedelta(hours=24.5), "like", 1),
    ]
    assert loaded.rejected.is_empty()
    assert loaded.figures["tables"]["videos.csv"] == {"encoding": "utf-8", "separator": ","}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_dialects_give_the_same_tables(folder, separator, end, encoding):
    plain = load(folder)
    for name in ("videos.csv", "feedback.csv"):
        text = (folder / name).read_text().replace(",", separator).replace("\n", end)
        (folder / name).write_bytes(text.encode(encoding))
    loaded = load(folder)
    assert loaded.videos.equals(plain.videos) and loaded.feedback.equals(plain.feedback)


def test_quotes_line_ends_and_separators_inside_cells(folder):
    (folder / "videos.csv").write_text(
        'video_id,published_at,title,mood\n"a",2024-01-01,"Two\n\n""lines"", one; cell\t",gl;ad\n'
    )
    loaded = load(folder)
    assert loaded.videos["title"].to_list() == ['Two\n\n"lines", one; cell\t']
    assert loaded.videos["mood"].to_list() == ["gl;ad"]


@pytest.mark.parametrize(
    ("text", "encoding"), [("带土和琳，故事", "gb18030"), ("Café où — naïve", "latin-1")]
)
def test_other_encodings_are_read_and_told(folder, text, encoding):
    written = encoding if encoding == "gb18030" else "cp1252"
    (folder / "videos.csv").write_bytes(VIDEOS.replace("One", text).encode(written))
    loaded = load(folder)
    assert loaded.videos["title"][0] == text
    assert loaded.figures["tables"]["videos.csv"]["encoding"] == encoding


def test_types_of_the_columns(folder):
    (folder / "videos.csv").write_text(
        "video_id,published_at,title,duration_s,code,followers,verified,joined_at,mood,gap\n"
        "007,2024-01-01T12:00,12,61.5,010,5,true,2023-12-31T12:00:00Z,sad,NA\n"
        "8,2024-01-02T12:00,13,,020,,FALSE,2023-12-31,glad,3\n"
    )
    (folder / "feedback.csv").write_text("video_id,time,kind,count\n007,2024-01-01T13:00,view,3\n")
    videos = load(folder).videos
    assert videos["video_id"].to_list() == ["007", "8"]
    assert videos["title"].to_list() == ["12", "13"]
    expected = {
        "duration_s": [61.5, None],
        "code": ["010", "020"],
        "followers": [5, None],
        "verified": [True, False],
        "joined_age_days": [1.0, 2.5],
        "mood": ["sad", "glad"],
        "gap": [None, 3],
    }
    assert {name: videos[name].to_list() for name in expected} == expected


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
def test_times_as_epochs(folder, unit):
    plain = load(folder)
    seconds = {"2024-01-01T12:00:00Z": 0, "2024-01-01T13:00:00Z": 1, "2024-01-02T12:00:00Z": 24}
    seconds["2024-01-02T12:30:00Z"] = 24.5
    for name in ("videos.csv", "feedback.csv"):
        text = (folder / name).read_text()
        for iso, hours in seconds.items():
            text = text.replace(iso, str(int((NOON.timestamp() + hours * 3600) * unit)))
        (folder / name).write_text(text + ("a,soon,view\n" if name == "feedback.csv" else ""))
    loaded = load(folder)
    assert loaded.feedback.equals(plain.feedback) and loaded.videos.equals(plain.videos)
    assert reasons(loaded) == [("feedback", 2, "time is missing or unreadable")]


def test_bad_rows_are_told_by_their_place_in_the_file(folder):
    (folder / "videos.csv").write_text(VIDEOS + "c,soon,Three\n\na,2024-01-01,Again\n")
    (folder / "feedback.csv").write_text(
        "video_id,time,kind,count\n"
        "a,2024-01-01T13:00:00Z,view,2,extra,more\n"
        "\n"
        "a,2024-01-01T13:00:00Z,view,many\n"
        "a,2024-01-01T13:00:00Z,view,1.5\n"
        "a,2024-01-01T13:00:00Z,view,2\n"
        "a\n"
        "c,2024-01-01T13:00:00Z,view,2\n"
    )
    loaded = load(folder)
    assert reasons(loaded) == [
        ("videos", 2, "published_at is missing or unreadable"),
        ("videos", 4, "video_id is a duplicate"),
        ("feedback", 0, "more fields than the header names"),
        ("feedback", 2, "count is missing"),
        ("feedback", 3, "count is not a whole number"),
        ("feedback", 5, "time is missing or unreadable"),
        ("feedback", 6, "its video is in quarantine"),
    ]
    assert loaded.rejected["remedy"].null_count() == 0
    assert loaded.feedback["count"].to_list() == [2]


def test_one_quote_too_many_does_not_swallow_rows(folder):
    (folder / "videos.csv").write_text(VIDEOS.replace("One", 'One "and'))
    (folder / "feedback.csv").write_text(FEEDBACK)
    loaded = load(folder)
    assert loaded.videos["title"].to_list() == ['One "and', "Two"]
    (folder / "videos.csv").write_text(VIDEOS.replace("One", '"One'))
    loaded = load(folder)
    assert loaded.videos["title"].to_list() == ['"One', "Two"]
    assert "unbalanced" in loaded.figures["tables"]["videos.csv"]["quotes"]


def test_cells_that_may_have_swallowed_rows_are_told(folder):
    text = VIDEOS + 'c,2024-01-03,"Three\nd,2024-01-04,Four\ne,2024-01-05,Five"\n'
    (folder / "videos.csv").write_text(text)
    loaded = load(folder)
    assert loaded.videos["video_id"].to_list() == ["a", "b", "c"]
    assert loaded.figures["tables"]["videos.csv"]["cells_with_rows_inside"] == "1"


@pytest.mark.parametrize("name", ["videos", "feedback"])
def test_a_table_as_parquet(folder, name):
    plain = load(folder)
    frame = pl.read_csv(folder / f"{name}.csv", try_parse_dates=True)
    frame.write_parquet(folder / f"{name}.parquet")
    with pytest.raises(InputError, match=f"{name}.csv and {name}.parquet are both there"):
        load(folder)
    (folder / f"{name}.csv").unlink()
    loaded = load(folder)
    assert loaded.feedback.equals(plain.feedback) and loaded.videos.equals(plain.videos)


def test_snapshots_long_and_wide(folder):
    (folder / "feedback.csv").unlink()
    long = [
        "video_id,time,kind,value",
        "a,2024-01-02,view,5",
        "a,2024-01-02,like,1",
        "a,2024-01-03,view,9",
        "b,2024-01-03,view,2",
        "b,2024-01-03,like,x",
    ]
    (folder / "snapshots.csv").write_text("\n".join(long))
    first = load(folder)
    assert first.feedback.select("video_id", "kind", "count").rows() == [
        ("a", "like", 1),
        ("a", "view", 5),
        ("a", "view", 4),
        ("b", "view", 2),
    ]
    assert reasons(first) == [("snapshots", 4, "value is missing")]
    wide = "video_id,time,view,like\na,2024-01-02,5,1\na,2024-01-03,9,\nb,2024-01-03,2,x\n"
    (folder / "snapshots.csv").write_text(wide)
    second = load(folder)
    assert second.feedback.equals(first.feedback)
    assert reasons(second) == [("snapshots", 2, "value is missing")]
    assert second.figures["decreases"] == first.figures["decreases"]
    (folder / "snapshots.csv").unlink()
    frame = pl.read_csv(wide.replace(",x", ",").encode(), try_parse_dates=True)
    frame.write_parquet(folder / "snapshots.parquet")
    assert load(folder).feedback.equals(first.feedback)
    with pytest.raises(InputError, match="no counter of the target kind 'share'"):
        load(folder, target="share")


def test_media_by_name(folder, tmp_path):
    rows = [f"{v},2024-01-01T12:00:00Z,T," for v in "abcd"] + ["e,2024-01-01T12:00:00Z,T,own.mp4"]
    (folder / "videos.csv").write_text("video_id,published_at,title,media\n" + "\n".join(rows))
    for name in ("x/a.mp4", "x/a.jpg", "b.JPG", "y/c.mp4", "z/c.webm", "own.mp4", ".hidden/d.mp4"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    loaded = load(folder)
    assert loaded.videos["media"].to_list() == ["x/a.mp4", "b.JPG", None, None, "own.mp4"]
    told = {k: v for k, v in loaded.figures.items() if "media" in k or "first" in k}
    assert told == {
        "media_found_by_name": 2,
        "media_ambiguous": 1,
        "media_not_found": 1,
        "first_ambiguous": "c",
    }
    (folder / "feedback.csv").write_text("video_id,time,kind\na,2024-01-01T13:00:00Z,view\n")
    report = import_dataset("own-data", folder, tmp_path / "w")
    assert (report["media_copied"], report["media_missing"], report["media_ambiguous"]) == (3, 0, 1)
    assert (tmp_path / "w/data/x/a.mp4").read_bytes() == b"x/a.mp4"


def test_tables_that_are_missing_or_unusable(folder):
    (folder / "snapshots.csv").write_text("video_id,time,view\na,2024-01-02,5\n")
    with pytest.raises(InputError, match="both of feedback.csv .* keep one of them"):
        load(folder)
    (folder / "snapshots.csv").unlink()
    (folder / "feedback.csv").write_text("video_id,when,kind\na,2024-01-02,view\n")
    with pytest.raises(InputError, match="feedback.csv: the column 'time' is missing"):
        load(folder)
    (folder / "feedback.csv").write_text("video_id,time,kind\n")
    with pytest.raises(InputError, match="feedback.csv: the table has no rows"):
        load(folder)
    (folder / "feedback.csv").write_text("")
    with pytest.raises(InputError, match="feedback.csv: the table has no rows"):
        load(folder)
    (folder / "feedback.csv").write_text("video_id,time,kind,kind\na,b,c,d\n")
    with pytest.raises(InputError, match="two columns are called 'kind'"):
        load(folder)
    (folder / "feedback.csv").write_text("video_id,time,kind\na,soon,view\n")
    with pytest.raises(InputError, match="feedback.csv: the column 'time' holds no ISO 8601 time"):
        load(folder)
    (folder / "feedback.csv").write_text("video_id,time,kind\nz,2024-01-02,view\n")
    with pytest.raises(InputError, match="row 0 of feedback.csv: video_id is not in the videos"):
        import_dataset("own-data", folder, folder.parent / "w")
    (folder / "feedback.csv").unlink()
    with pytest.raises(InputError, match="neither of feedback.csv"):
        load(folder)
    (folder / "videos.csv").unlink()
    with pytest.raises(InputError, match="videos.csv: no such file"):
        load(folder)


# \x1c to \x1f are white space to Python alone
ODD = "\0\r\x1c\x1d\x1e\x1f\ufeff\ufffd"
cells = st.text(st.characters(codec="utf-8", exclude_characters=ODD), max_size=12)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_what_a_csv_writer_writes_is_read(tmp_path_factory, rows, separator):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    frame = pl.DataFrame(rows, schema={"name": pl.String, "x": pl.String}, orient="row")
    frame.write_csv(path, separator=separator, quote_style="always")
    there = [tuple(c if c.strip() else None for c in row) for row in rows]
    expected = [row for row in there if row != (None, None)]
    if not expected:
        return
    table = delimited.read(path)
    blank = [tuple(c if c and c.strip() else None for c in row) for row in table.frame.rows()]
    assert blank == expected


def test_a_workspace_among_the_media_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outside"):
        import_dataset("own-data", tmp_path, tmp_path / "workspaces/mine")
