"""Training, validation and test: by time with an embargo, or in random folds of whole groups.

See docs/model.md, 2, clause 2, and docs/data.md. No split depends on the order of the rows.
"""

import hashlib
from typing import Any

import numpy as np
import polars as pl

from m3tr.data.settings import TaskSettings
from m3tr.errors import InputError

SPLITS = ("train", "validation", "test")


def assign_splits(
    examples: pl.DataFrame, videos: pl.DataFrame, task: TaskSettings
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Add the column `split`; under the temporal split, drop what the embargo forbids.

    Parameters
    ----------
    examples : DataFrame
        `video_id`, `observed_at`, `known_at`.
    videos : DataFrame
        Holds the column named by `task.group_by`, where that is set.
    task : TaskSettings

    Returns
    -------
    examples : DataFrame
    figures : dict
        Size of each split, what the embargo took from it, and what lies after the test part.

    Raises
    ------
    InputError
        A split is left without examples, or the column of the groups is missing.
    """
    figures: dict[str, Any] = {"split": task.split}
    if task.split == "random":
        divided = _random(examples, videos, task)
        figures["fold"] = task.fold
    else:
        divided = _temporal(examples, task)
        figures["left_out_after_test"] = examples.height - divided.height
    if task.split == "temporal" and task.embargo:
        kept = _embargo(divided)
        for name in SPLITS[:2]:
            figures[f"left_out_embargo_{name}"] = _size(divided, name) - _size(kept, name)
        divided = kept
    for name in SPLITS:
        figures[name] = _size(divided, name)
        if figures[name] == 0:
            raise InputError(_empty_split(name, examples.height, figures, task))
    return divided, figures


def _temporal(examples: pl.DataFrame, task: TaskSettings) -> pl.DataFrame:
    ordered = examples.sort("observed_at", "video_id")
    cuts: tuple[Any, ...]
    if task.cuts is None:
        place, cuts = pl.int_range(pl.len()), _cuts(ordered.height, task.fractions)
    else:
        place, cuts = pl.col("observed_at"), task.cuts
    early = pl.when(place < cuts[0]).then(pl.lit("train"))
    known = early.when(place < cuts[1]).then(pl.lit("validation"))
    # what is later than the test part stays null, and goes
    split = known.when(place < cuts[2] if cuts[2:] else True).then(pl.lit("test"))
    return ordered.with_columns(split.alias("split")).drop_nulls("split")


def _embargo(examples: pl.DataFrame) -> pl.DataFrame:
    """Keep an example only if its outcome was known when the next split's first query is made."""
    begins = dict(
        examples.group_by("split")
        .agg(pl.col("observed_at").min())
        .select("split", "observed_at")
        .rows()
    )
    kept = examples
    for name, following in zip(SPLITS, SPLITS[1:], strict=False):
        # a split too small to exist is the caller's complaint
        begin = begins.get(following)
        if begin is not None:
            kept = kept.filter((pl.col("split") != name) | (pl.col("known_at") <= begin))
    return kept


def _random(examples: pl.DataFrame, videos: pl.DataFrame, task: TaskSettings) -> pl.DataFrame:
    if task.group_by is not None and task.group_by not in videos.columns:
        raise InputError(
            f"params.yaml: task.group_by names {task.group_by!r}, which the videos table does not "
            f"have; name one of {', '.join(videos.columns[:12])}."
        )
    group = pl.concat_str(pl.lit("v:"), "video_id")
    if task.group_by is not None and task.group_by != "video_id":
        named = pl.concat_str(pl.lit("g:"), pl.col(task.group_by).cast(pl.String))
        group = pl.coalesce(named, group)  # a video without a group is its own
    groups = videos.select("video_id", group.alias("_group"))
    drawn = examples.join(groups, on="video_id", how="left")
    sizes = drawn.group_by("_group").len()
    keys = [_draw(task.seed, name) for name in sizes["_group"]]
    sizes = sizes.with_columns(pl.Series("_key", keys, pl.String)).sort("_key")
    # a group belongs where its middle falls, so that a large one does not overfill a small split
    middle = pl.col("len").cum_sum() - pl.col("len") / 2
    n, share = examples.height, task.fractions[2]
    # the same edges for all folds: no rounding may put a group into two test parts, or into none
    end, begin = (round(n * (1 - fold * share)) for fold in (task.fold, task.fold + 1))
    first, second, _ = _cuts(n, task.fractions)
    # the circle, read backwards: test, then validation, then training
    back = (end - middle) % n
    tested = pl.when(back < end - begin).then(pl.lit("test"))
    held = tested.when(back < end - begin + second - first).then(pl.lit("validation"))
    sizes = sizes.with_columns(held.otherwise(pl.lit("train")).alias("split"))
    return drawn.join(sizes.select("_group", "split"), on="_group").drop("_group")


def _draw(seed: int, name: str) -> str:
    return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).hexdigest()


def _size(examples: pl.DataFrame, name: str) -> int:
    return examples.filter(pl.col("split") == name).height


def _cuts(n: int, fractions: tuple[float, float, float]) -> tuple[int, int, int]:
    """Where training, validation and test end among `n` in order."""
    first, second = fractions[0], fractions[0] + fractions[1]
    return round(first * n), round(second * n), round(sum(fractions) * n)


def _empty_split(name: str, n: int, figures: dict[str, Any], task: TaskSettings) -> str:
    lost = figures.get(f"left_out_embargo_{name}", 0)
    if lost:
        return (
            f"params.yaml: the embargo leaves no {name} example ({lost} outcomes were not known "
            "when the next split begins); shorten task.horizons, use data over a longer time, or "
            "set task.embargo: false and say so."
        )
    if task.cuts is not None:
        return (
            f"params.yaml: no example is observed in the {name} part of task.cuts; move the cuts "
            "to where the data are."
        )
    grouped = f" in whole groups of {task.group_by}" if task.group_by else ""
    return (
        f"params.yaml: {n} examples{grouped} are too few to fill the {name} split; use more data "
        "or other task.fractions."
    )


def groups_of(videos: pl.DataFrame, column: str = "creator_id") -> np.ndarray:
    """Number (N,) of each video's group, or of itself without one: what no fold may cut."""
    own = videos[column].cast(pl.String) if column in videos.columns else videos["video_id"]
    names = own.fill_null(videos["video_id"]).to_numpy()
    return np.unique(names, return_inverse=True)[1]
