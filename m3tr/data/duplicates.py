"""Near-duplicates, so that no video retrieves a copy of itself (docs/model.md, 2, clause 4)."""

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from m3tr.data.splits import groups_of

IDENTITY = ("title", "creator_id", "media")


def likenesses(videos: pl.DataFrame) -> pl.DataFrame:
    """What two near-duplicates share: `text` (creator and title) and `media` (its path).

    Titles are compared in lower case, letters and digits only; an empty one says nothing (null).

    Parameters
    ----------
    videos : DataFrame
        `title`, `creator_id`, `media` where there are any.

    Returns
    -------
    DataFrame
        `text`, `media` (String), in the order of `videos`.
    """
    blank = pl.lit(None, pl.String)
    has = set(videos.columns)
    title = (
        pl.col("title")
        .cast(pl.String)  # a column of nothing but nulls has no type
        .str.normalize("NFKC")
        .str.to_lowercase()
        .str.replace_all(r"[^\p{L}\p{N}]+", " ")
        if "title" in has
        else blank
    ).str.strip_chars()
    creator = (
        pl.col("creator_id").cast(pl.String).fill_null("") if "creator_id" in has else pl.lit("")
    )
    text = pl.when(title != "").then(pl.concat_str(creator, title, separator="\x00"))
    media = pl.col("media").cast(pl.String) if "media" in has else blank
    # through a column of the table, or literals alone would make one row
    return videos.with_columns(text.alias("text"), media.alias("media")).select("text", "media")


def near_duplicates(videos: pl.DataFrame) -> pl.DataFrame:
    """Group videos that share a title and creator, or a media path.

    The relation is closed: two videos that are alike to a third are in one group.

    Parameters
    ----------
    videos : DataFrame
        `video_id` (unique); `title`, `creator_id`, `media` where there are any.

    Returns
    -------
    DataFrame
        `video_id`, `group` (Int64), sorted by `video_id`; groups are numbered by their first video.
    """
    ordered = videos.sort("video_id")
    keys = likenesses(ordered).with_row_index("i")
    n = ordered.height
    edges = [
        keys.drop_nulls(key).select("i", pl.col("i").first().over(key).alias("j")).to_numpy()
        for key in ("text", "media")
    ]
    pairs = np.concatenate(edges).astype(np.int64)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return ordered.select("video_id").with_columns(
        pl.Series("group", number[inverse], dtype=pl.Int64)
    )


def kindred(videos: pl.DataFrame, column: str = "creator_id") -> np.ndarray:
    """Groups (N,) of videos of one creator (or group of `column`) or near-duplicates, closed."""
    n = videos.height
    copies = videos.select("video_id").join(
        near_duplicates(videos), on="video_id", maintain_order="left"
    )["group"]
    one, two = groups_of(videos, column), copies.to_numpy()
    node = np.concatenate([n + one, 2 * n + two])
    graph = coo_array((np.ones(2 * n), (np.tile(np.arange(n), 2), node)), shape=(3 * n, 3 * n))
    return connected_components(graph, directed=False)[1][:n]
