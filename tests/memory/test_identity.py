"""Who is the same video as whom, when items come in several batches."""

import numpy as np
import polars as pl
import pytest

from m3tr.data.duplicates import near_duplicates
from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys

SCHEMA = {
    "video_id": pl.String,
    "title": pl.String,
    "creator_id": pl.String,
    "media": pl.String,
    "known_at": pl.Datetime("us"),
}


@pytest.fixture
def videos(make):
    """`videos((id, title, creator, media), ...)`: a table; all became known at one time."""

    def table(*rows):
        when = make.times(np.zeros(1))[0].item()
        return pl.DataFrame([(*row, when) for row in rows], schema=SCHEMA, orient="row")

    return table


def keys(n: int) -> Keys:
    return Keys(np.ones((n, 1), np.float32))


def grown(*tables: pl.DataFrame) -> Bank:
    """A bank that got one table after the other."""
    bank = Bank.build(tables[0], keys(tables[0].height), {})
    for table in tables[1:]:
        bank = bank.append(table, keys(table.height), {})
    return bank


def alike(bank: Bank, asked: pl.DataFrame) -> list[list[str]]:
    """Ids of the items that each video may not be shown, sorted."""
    ids = bank.items["video_id"].to_list()
    return [sorted(ids[i] for i in rows) for rows in bank.alike(asked)]


def test_an_item_that_joins_two_groups_makes_them_one(videos):
    one = videos(("a", "tea", "x", None), ("b", None, None, "m"), ("c", "noon", "x", None))
    two = videos(("d", "Tea", "x", "m"), ("e", "noon", "y", None))
    asked = videos(
        ("q1", "tea!", "x", None), ("q2", None, None, "m"), ("q3", "noon", "x", None),
        ("q4", "noon", "z", None), ("e", None, None, None),
    )  # fmt: skip
    assert alike(grown(one), asked)[:2] == [["a"], ["b"]]
    whole = [["a", "b", "d"], ["a", "b", "d"], ["c"], [], ["e"]]
    assert alike(grown(one, two), asked) == whole
    assert alike(grown(two, one), asked) == whole


def test_chains_of_joined_groups_are_followed_to_their_end(videos):
    """Six lone items, then links between them, last the one in the middle."""
    lone = [videos((f"i{n}", f"t{n}", "x", None)) for n in range(6)]
    lone = [t.with_columns(media=pl.lit(f"m{n}")) for n, t in enumerate(lone)]
    links = [(0, 1), (4, 5), (1, 2), (3, 4), (2, 3)]
    tables = [videos((f"l{a}", f"t{a}", "x", f"m{b}")) for a, b in links]
    bank, ids = grown(*lone, *tables), sorted(f"{c}{n}" for c in "il" for n in range(6))[:-1]
    for n in range(6):
        assert alike(bank, videos(("q", None, None, f"m{n}"))) == [ids]
    before = grown(*lone, *tables[:-1])
    left = ["i0", "i1", "i2", "l0", "l1"]
    assert alike(before, videos(("q", "t2", "x", None))) == [left]


@pytest.mark.parametrize("seed", range(40))
def test_groups_do_not_depend_on_the_batches(make, tmp_path, seed):
    """Also in a folder, where segments are merged: the groups are those of the whole table."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))

    def some(prefix: str, most: int) -> list:
        return [f"{prefix}{i}" if i < most else None for i in rng.integers(0, most * 2, n)]

    items = pl.DataFrame(
        {
            "video_id": [f"v{i:02d}" for i in range(n)],
            "title": some("t", 12), "creator_id": some("c", 2), "media": some("m", 12),
            "known_at": make.times(rng.integers(0, 9, n)),
        },
        schema=SCHEMA,
    )  # fmt: skip
    parts = np.split(rng.permutation(n), np.sort(rng.integers(1, n, rng.integers(1, 6))))
    first, *rest = [items[rows.tolist()] for rows in parts]
    bank = grown(first, *rest)
    grown(first).save(tmp_path)
    for table in rest:
        Bank.open(tmp_path).append(table, keys(table.height), {})
    group = dict(near_duplicates(items).iter_rows())
    right = [sorted(v for v in group if group[v] == group[i]) for i in items["video_id"]]
    assert alike(bank, items) == alike(Bank.open(tmp_path), items) == right


def test_companions_in_the_table_play_no_part(videos):
    bank = grown(videos(("a", "tea", "x", None)), videos(("b", None, None, "m")))
    bridge = ("q1", "tea", "x", "m")  # alike to both; q2 is alike to q1 and to a
    others = [bridge, ("q2", "tea", "x", None), ("q3", None, None, "m"), ("q4", None, None, None)]
    together = alike(bank, videos(*others))
    assert together == [["a", "b"], ["a"], ["b"], []]
    assert together == [alike(bank, videos(row))[0] for row in others]
    assert alike(bank, videos(*others[::-1])) == together[::-1]


def test_titles_of_all_scripts(videos):
    bank = grown(
        videos(("a", "ＦＵＬＬ　ｗｉｄｔｈ", "x", None), ("b", "日本の猫🐈", "x", None)),
        videos(("c", "ÉTÉ à Paris", "x", None), ("d", "🎉🎉", "x", None), ("e", "…", "x", None)),
        videos(("f", "ѕtraße", "x", None), ("g", "a\x00b", "x", None)),
    )
    asked = [
        ("full width!", ["a"]), ("日本の猫", ["b"]), ("日本の犬", []), ("été — À PARIS", ["c"]),
        ("e\u0301te\u0301 a\u0300 paris", ["c"]), ("🎉", []), ("", []), ("ѕTRAßE", ["f"]),
        ("a b", ["g"]), (None, []),
    ]  # fmt: skip
    for title, right in asked:
        assert alike(bank, videos(("q", title, "x", None))) == [right], title
        assert alike(bank, videos(("q", title, "another", None))) == [[]]


def test_a_creator_and_a_title_cannot_be_split_in_another_way(videos):
    bank = grown(videos(("a", "b c", "a", None), ("i", None, None, "a")))
    assert alike(bank, videos(("q", "c", "a b", None), ("r", "a", None, None))) == [[], []]
    # an id is no medium and no title
    assert alike(bank, videos(("m", "i", "", "i"))) == [[]]


def test_tables_without_names_know_the_id_alone(make):
    items = pl.DataFrame({"video_id": ["a", "b"], "known_at": make.times(np.zeros(2))})
    bank = grown(items, items.with_columns(video_id="x" + pl.col("video_id")))
    asked = pl.DataFrame({"video_id": ["xb", "a", "q"]})
    assert alike(bank, asked) == [["xb"], ["a"], []]
    named = asked.with_columns(title=pl.lit("t"), media=pl.lit(None, pl.String))
    assert alike(bank, named) == [["xb"], ["a"], []]


def test_columns_may_come_and_go_between_batches(make, videos):
    bare = pl.DataFrame({"video_id": ["a"], "known_at": make.times(np.zeros(1))})
    untitled = bare.with_columns(video_id=pl.lit("b"), title=pl.lit(None))  # a column of type Null
    bank = grown(bare, untitled, videos(("c", "tea", None, None)))
    assert bank.items["title"].to_list() == [None, None, "tea"]
    assert alike(bank, videos(("q", "tea", None, None))) == [["c"]]
    assert bank.describe(np.array([2, 0]))["video_id"].to_list() == ["c", "a"]


def test_nothing_is_like_what_has_no_name(videos):
    bank = grown(videos(("a", None, None, None)), videos(("b", None, None, None)))
    assert alike(bank, videos((None, None, None, None), ("q", None, None, None))) == [[], []]
