"""The text files of the MicroLens dataset: titles, tags, and the totals of likes and views."""

import re
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.data.quarantine import empty, first_of, set_aside
from m3tr.data.sources.delimited import decode

# digits, a unit of the Chinese counting, "and more"
_NUMBER = r"^([0-9][0-9,]*)(?:\.([0-9]+))?\s*(万|萬|[wW]|亿|億|千|[kK])?\s*\+?$"
_UNITS = {"万": 4, "萬": 4, "w": 4, "W": 4, "亿": 8, "億": 8, "千": 3, "k": 3, "K": 3}
_TWICE = r"(万|萬|[wW])\s*(万|萬|[wW])"
WAN = 10_000
# the platform's largest totals are of the order of 10^8; more than this is a unit too many
TOO_MANY = 10**9


def item_texts(path: Path, table: str) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Read "item,text" lines, with or without a header.

    The published files differ: some quote as CSV does, some hold single quotes that close nothing.
    So a record begins at each line that begins with a number and the separator, and a line that
    does not belongs to the text before it only while that text's opening quote is open.

    Returns
    -------
    good : DataFrame
        `item` (Int64), `text` (null where blank); one row an item.
    rejected : DataFrame
        Quarantine rows, filed under `table`; `row` is the line, from 0 behind the header.
    notes : dict
        `encoding`; `unbalanced_quotes`, the number of texts that keep a single quote.
    """
    lines, separator, encoding = _lines(path)
    begins = rf'^\s*"?(\d{{1,18}})"?\s*{separator}(.*)$'
    frame = lines.with_columns(
        pl.col("line").str.extract(begins, 1).cast(pl.Int64).alias("item"),
        pl.col("line").str.extract(begins, 2).alias("rest"),
    )
    frame = frame.with_columns(pl.col("item").is_not_null().cum_sum().alias("_record"))
    text = pl.coalesce("rest", "line")
    frame = frame.with_columns(text.alias("text"), text.str.count_matches('"').alias("_quotes"))
    opened = pl.col("text").str.strip_chars_start().str.starts_with('"').first().over("_record")
    before = pl.col("_quotes").cum_sum().over("_record") - pl.col("_quotes")
    frame = frame.with_columns(opened.alias("_opened"))
    inside = pl.col("_opened") & (before % 2 == 1) & (pl.col("_record") > 0)
    frame = frame.with_columns((pl.col("item").is_not_null() | inside).alias("_part"))
    stray = frame.filter(~pl.col("_part") & (pl.col("line").str.strip_chars() != ""))
    bad = _filed(stray, table, "row is unreadable")
    records = (
        frame.filter("_part")
        .group_by("_record", maintain_order=True)
        .agg(
            pl.col("_row", "item").first(),
            pl.col("text").str.join("\n"),
            pl.col("_quotes").sum(),
            pl.col("_opened").first(),
        )
    )
    plain = pl.col("text").str.strip_chars()
    whole = plain.str.starts_with('"') & plain.str.ends_with('"') & (plain.str.len_chars() > 1)
    cell = plain.str.slice(1, plain.str.len_chars() - 2)
    # "So" and "so" is a text with quotes, not a quoted one
    whole &= ~cell.str.replace_all('""', "", literal=True).str.contains('"', literal=True)
    cell = cell.str.replace_all('""', '"', literal=True)
    records = records.with_columns(
        pl.when(whole).then(cell.str.strip_chars()).otherwise(plain).alias("text"),
        # a record that begins inside an open quote may be the end of another's text
        (pl.col("_opened") & (pl.col("_quotes") % 2 == 1))
        .shift(1, fill_value=False)
        .alias("_doubtful"),
    )
    notes = {
        "encoding": encoding,
        "unbalanced_quotes": records.filter(pl.col("_quotes") % 2 == 1).height,
    }
    records = records.sort("_doubtful", "_row")
    good, doubles = _distinct(records, table)
    good = good.select(
        "item", pl.when(pl.col("text") != "").then("text").alias("text"), pl.col("_row")
    )
    return good.sort("_row"), pl.concat([bad, doubles]).sort("row"), notes


def totals(path: Path) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Read "item, likes, views" lines: totals when the dataset was collected.

    Returns
    -------
    good : DataFrame
        `item`, `likes`, `views` (Int64).
    rejected : DataFrame
        Quarantine rows, filed under "likes_and_views".
    notes : dict
        `encoding`, `rows`.
    """
    table = "likes_and_views"
    lines, separator, encoding = _lines(path, "\t,; ")
    field = pl.col("line").str.split(separator).list
    frame = lines.filter(pl.col("line").str.strip_chars() != "").with_columns(
        field.get(0, null_on_oob=True).str.strip_chars(' "').cast(pl.Int64, strict=False),
        *(
            field.get(i, null_on_oob=True).str.strip_chars(' "').alias(f"_{name}")
            for i, name in ((1, "likes"), (2, "views"))
        ),
    )
    frame = frame.rename({"line": "item"}).with_columns(
        number(pl.col("_likes")).alias("likes"),
        number(pl.col("_views")).alias("views"),
        pl.col("item").cast(pl.String).alias("video_id"),
    )
    likes, views = pl.col("likes"), pl.col("views")

    def either(fault: Any) -> pl.Expr:
        return fault("likes") | fault("views")

    def twice(name: str) -> pl.Expr:
        return pl.col(f"_{name}").str.contains(_TWICE) | (pl.col(name) >= TOO_MANY)

    # 10,000 likes once stood as 100,000,000 beside 364,000 views
    scaled = (likes > views) & (likes % WAN == 0) & (likes // WAN <= views) & (likes >= WAN**2)
    faults = (
        (pl.col("item").is_null(), "row is unreadable"),
        (
            either(lambda n: pl.col(f"_{n}").fill_null("").is_in(["", "null", "None", "nan"])),
            "likes or views are missing",
        ),
        (either(twice).fill_null(False) | scaled, "likes or views have their unit twice"),
        (
            either(lambda n: pl.col(f"_{n}").str.contains(r"^[0-9,]*\.\d*[1-9]\d*\s*\+?$")),
            "likes or views lost their unit",
        ),
        (either(lambda n: pl.col(n).is_null()), "likes or views are unreadable"),
        (likes > views, "likes are above views"),
    )
    good, bad = set_aside(frame, table, first_of(*faults))
    good, doubles = _distinct(good.drop("video_id"), table)
    notes = {"encoding": encoding, "rows": frame.height}
    return good.select("item", "likes", "views"), pl.concat([bad, doubles]).sort("row"), notes


def number(text: pl.Expr) -> pl.Expr:
    """Whole number of a count as Chinese platforms show it; null where it is none.

    A wan (万, w) is 10,000, a yi (亿) 10^8, 千 and k are 1,000: ``1.2万`` is 12000, ``12.3万+``
    is 123000. A fraction without a unit is no count.
    """
    parts = text.str.strip_chars().str.extract_groups(_NUMBER).struct
    whole = parts.field("1").str.replace_all(",", "", literal=True)
    fraction = parts.field("2").fill_null("").str.strip_chars_end("0")
    power = parts.field("3").replace_strict(_UNITS, default=0, return_dtype=pl.Int64)
    # digits are shifted as text: 1.2 * 10,000 need not be 12,000 in binary
    digits = (
        whole
        + fraction
        + pl.lit("0")
        .repeat_by((power - fraction.str.len_chars().cast(pl.Int64)).clip(lower_bound=0))
        .list.join("")
    )
    exact = fraction.str.len_chars().cast(pl.Int64) <= power
    return pl.when(exact).then(digits.cast(pl.Int64, strict=False))


def _lines(path: Path, among: str = ",;\t") -> tuple[pl.DataFrame, str, str]:
    """Lines behind the header, if there is one, with `_row` from 0; separator; encoding."""
    text, encoding = decode(path.read_bytes())
    lines = text.lstrip("\n").split("\n")
    header = not lines[0].lstrip(' "')[:1].isdigit()
    lines = lines[header:]
    starts = (re.match(rf'\s*"?\d+"?\s*?([{among}])', line) for line in lines[:100])
    separator = next((found[1] for found in starts if found), among[0])
    frame = pl.DataFrame({"line": lines}, schema={"line": pl.String}).with_row_index("_row")
    return frame.with_columns(pl.col("_row").cast(pl.Int64)), separator, encoding


def _distinct(records: pl.DataFrame, table: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = records.with_columns(pl.col("item").cast(pl.String).alias("video_id"))
    double = (~pl.col("item").is_first_distinct(), "item is a duplicate")
    return set_aside(frame, table, first_of(double))


def _filed(rows: pl.DataFrame, table: str, reason: str) -> pl.DataFrame:
    if rows.is_empty():
        return empty()
    return set_aside(
        rows.with_columns(pl.lit(None, pl.String).alias("video_id")), table, pl.lit(reason)
    )[1]
