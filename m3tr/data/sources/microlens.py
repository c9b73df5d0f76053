"""Source: the MicroLens dataset in the folder layout of its authors (docs/microlens.md).

The interactions are comments. When a video was published is not told: its first comment stands for
it. Likes and views are totals of the day of collection, later than any forecast; they only serve
checks and never enter the tables.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.data.quarantine import clean_videos, first_of, set_aside
from m3tr.data.sources import mediafiles
from m3tr.data.sources.base import Loaded
from m3tr.data.sources.microlens_pairs import interactions
from m3tr.data.sources.microlens_texts import item_texts, totals
from m3tr.data.tables import EMBEDDINGS, FEEDBACK_COLUMNS, TIME, videos_table
from m3tr.errors import InputError
from m3tr.progress import track

# where several files serve, the first that is there; `*` is the prefix, such as MicroLens-100k
TITLES = ("*_title_en.csv", "*_titles_en.csv", "*_titles.csv", "*_title.csv")
TAGS = ("*tags_to_summary.csv",)
TOTALS = ("*_likes_and_views.txt",)
MEDIA = ("*_videos", "*_covers", "*_audio", "*_audios")
FEATURES = {
    "emb_visual": ("*_video_features*.npy", "*_image_features*.npy"),
    "emb_audio": ("*_audio_features*.npy",),
    "emb_text": ("*_text_features*.npy",),
}


def load(src: Path, drop: Sequence[str] = ()) -> Loaded:
    """Read a folder that holds one ``*_pairs.csv`` and whatever else was downloaded.

    Parameters
    ----------
    src : Path
    drop : sequence of str
        Columns to leave out, such as "emb_visual" to decode the media instead.

    Raises
    ------
    InputError
        No or several interaction files, or a file that is unreadable as a whole.
    """
    path = _pairs_file(src)
    pairs, bad, figures = interactions(path)
    files = {"feedback": path.name, "videos": path.name}
    rejected = [bad]
    videos = pairs.group_by("item").agg(pl.col("time").min().alias("published_at"), pl.len())
    videos, items = _with_texts(videos, src, files, rejected, figures)
    _check_totals(videos, src, files, rejected, figures)
    videos = videos.sort("item")
    videos, figures["media"] = _with_media(videos, src)
    videos, figures["embeddings"] = _with_embeddings(videos, items, src, drop)
    frame = videos.drop("item", "len").with_columns(
        videos["item"].cast(pl.String).alias("video_id"),
        pl.col("published_at").cast(pl.Datetime("ms", "UTC")).cast(TIME),
    )
    # a column of vectors that is dropped was never read
    drop = [c for c in drop if c in frame.columns or c not in EMBEDDINGS]
    good, bad = clean_videos(videos_table(frame, path, drop))
    return Loaded(
        good.sort("published_at", "video_id"),
        _feedback(pairs),
        pl.concat([bad, *rejected]),
        {"files": files} | figures,
        files,
    )


def _pairs_file(src: Path) -> Path:
    found = sorted(src.glob("*_pairs.csv"))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{src}: {found[0].name} and {found[1].name} are both there; keep one size per folder."
        )
    why = " (*_pairs.tsv has no times)" if list(src.glob("*_pairs.tsv")) else ""
    raise InputError(
        f"{src}/*_pairs.csv: no such file{why}; download the interactions with their times."
    )


def _first(src: Path, patterns: Sequence[str]) -> Path | None:
    return next((path for pattern in patterns for path in sorted(src.glob(pattern))), None)


def _with_texts(
    videos: pl.DataFrame,
    src: Path,
    files: dict[str, str],
    rejected: list[pl.DataFrame],
    figures: dict[str, Any],
) -> tuple[pl.DataFrame, pl.Series]:
    """Join titles and tags; also all items that are known, with interactions or without."""
    items = videos["item"]
    for table, column, patterns in (("titles", "title", TITLES), ("tags", "category", TAGS)):
        found = _first(src, patterns)
        if found is None:
            continue
        files[table] = found.name
        texts, bad, figures[table] = item_texts(found, table)
        if table == "titles":
            items = pl.concat([items, texts["item"]]).unique()
            idle = (~pl.col("item").is_in(videos["item"].implode()), "item has no interactions")
            texts = texts.with_columns(pl.col("item").cast(pl.String).alias("video_id"))
            texts, without = set_aside(texts, table, first_of(idle))
            bad = pl.concat([bad, without]).sort("row")
        rejected.append(bad)
        texts = texts.select("item", pl.col("text").alias(column))
        videos = videos.join(texts, on="item", how="left")
    if "title" in videos.columns:
        figures["videos_without_title"] = videos["title"].null_count()
    return videos, items


def _check_totals(
    videos: pl.DataFrame,
    src: Path,
    files: dict[str, str],
    rejected: list[pl.DataFrame],
    figures: dict[str, Any],
) -> None:
    """Check likes and views, and tell videos with more comments than views."""
    found = _first(src, TOTALS)
    if found is None:
        return
    files["likes_and_views"] = found.name
    counted, bad, notes = totals(found)
    both = videos.join(counted, on="item").filter(pl.col("len") > pl.col("views"))
    notes["videos_with_more_comments_than_views"] = both.height
    figures["likes_and_views"] = notes
    rejected.append(bad)


def _feedback(pairs: pl.DataFrame) -> pl.DataFrame:
    columns = {
        "video_id": pl.col("item").cast(pl.String),
        "time": pl.col("time").cast(pl.Datetime("ms", "UTC")).cast(TIME),
        "kind": pl.lit("comment"),
        "count": pl.lit(1, pl.Int64),
    }
    # items are sorted as the text that they become
    order = pl.DataFrame({"item": pairs["item"].unique()})
    order = order.sort(pl.col("item").cast(pl.String)).with_row_index("_order")
    ordered = pairs.join(order, on="item").sort("_order", "time")
    return ordered.select(**columns).select(FEEDBACK_COLUMNS)


def _with_media(videos: pl.DataFrame, src: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Name the film of each video, or its cover, or its sound; a film cut short comes last."""
    folders = sorted({p for pattern in MEDIA for p in src.glob(pattern) if p.is_dir()})
    found = mediafiles.index(src, folders)
    items = found.with_columns(pl.col("stem").cast(pl.Int64, strict=False).alias("item"))
    stray = items.join(videos, on="item", how="anti")
    items = items.join(videos.select("item"), on="item", how="semi")
    suspects = items.filter(pl.col("media").str.contains(mediafiles.MP4))
    partial = [
        name
        for name in track(suspects["media"].to_list(), "looking at videos")
        if mediafiles.is_partial_mp4(src / name)
    ]
    cut = pl.col("media").is_in(partial)
    best = items.with_columns(cut.alias("_cut")).sort("item", "_cut", "kind", "media")
    best = best.unique("item", keep="first", maintain_order=True)
    names = list(mediafiles.KINDS)
    figures: dict[str, Any] = {
        kind: best.filter(pl.col("kind") == i).height for i, kind in enumerate(names)
    }
    figures |= {
        "none": videos.height - best.height,
        "partial_videos": len(partial),
        "partial_videos_replaced": len(partial) - best.filter("_cut").height,
        "of_no_video": stray.height,
    }
    if not best.is_empty():
        videos = videos.join(best.select("item", "media"), on="item", how="left")
    return videos, figures


def _with_embeddings(
    videos: pl.DataFrame, known: pl.Series, src: Path, drop: Sequence[str]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Add the published vectors: row i of an array belongs to item i + 1."""
    figures: dict[str, Any] = {}
    for column, patterns in FEATURES.items():
        paths = [p for pattern in patterns for p in sorted(src.glob(f"**/{pattern}"))]
        if not paths or column in drop:
            continue
        path = paths[0]
        array = _open(path)
        low, high = known.to_numpy().min(initial=1), known.to_numpy().max(initial=0)
        if low < 1 or high != len(array):
            figures[column] = (
                f"{path.name} left out: {len(array)} rows for items {low} to {high}; "
                "which row belongs to which item is not known"
            )
            continue
        vectors = np.asarray(array[videos["item"].to_numpy() - 1], np.float32)
        finite = np.isfinite(vectors).all(1)
        vectors[~finite] = 0.0
        series = pl.Series(column, vectors).arr.to_list()
        figures[column] = path.name
        if not finite.all():
            figures[f"{column}_not_finite"] = int((~finite).sum())
            series = series.set(pl.Series(~finite), None)
        videos = videos.with_columns(series)
    return videos, figures


def _open(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        said = str(error).splitlines()[0][:120]
        raise InputError(
            f"{path}: not a readable .npy file of numbers ({said}); download it again, or move it "
            "out of the folder."
        ) from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: one row of numbers an item is expected; move the file away.")
    return array
