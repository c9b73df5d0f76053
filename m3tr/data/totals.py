"""Totals of feedback as a platform shows them: read at crawl time, so unknown at publication.

As a covariate such a column would tell the outcome (the information contract, docs/data.md).
"""

import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from m3tr.errors import InputError

# what platforms count, whether or not it is a kind of this dataset
COUNTED = (
    "play", "view", "like", "digg", "comment", "share", "collect", "favorite", "favourite",
    "repost", "retweet", "dislike", "heart", "save", "download", "forward",
)  # fmt: skip


def refuse(videos: pl.DataFrame, kinds: Iterable[str], where: Path | str) -> None:
    """Stop at a number of the videos table whose name is that of a feedback total.

    Parameters
    ----------
    videos : DataFrame
    kinds : iterable of str
        Feedback kinds of the dataset.
    where : path
        For the message.

    Raises
    ------
    InputError
        At `views`, `like_count`, `shareCount`, `n_comments`, `num_plays`, `total_views` and kin.
    """
    names = _names(kinds)
    for name, dtype in videos.schema.items():
        if dtype.is_numeric() and _plain(name) in names:
            raise InputError(
                f"{where}: the column {name!r} of the videos table is named like a total of "
                f"feedback, which was not known at publication; import with `--drop {name}`, or "
                "rename it if it was."
            )


def _names(kinds: Iterable[str]) -> set[str]:
    found = set(map(_plain, kinds))
    for kind in [*found, *COUNTED]:
        one = kind.removesuffix("s")  # a kind may be called "views"
        many = re.sub("(?<=[^aeiou])y$", "ie", one) + "s"
        found.add(many)
        for word in (one, many):
            found |= {f"{word}_count", f"{word}_counts", f"n_{word}", f"num_{word}"}
            found |= {f"nb_{word}", f"total_{word}", f"{word}_total"}
    return found


def _plain(name: str) -> str:
    """`playCount`, `Play Count` and `play-count` are `play_count`."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\W_]+", "_", apart.lower())
