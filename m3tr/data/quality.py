"""What is expected of the clean tables and the examples (Great Expectations)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from m3tr.data.settings import QualitySettings
from m3tr.data.splits import SPLITS
from m3tr.data.suites import CRITICAL, WARNING, Suite, all_but, critical, run, together

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation


def validate(
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    settings: QualitySettings,
    docs_dir: Path,
    *,
    media_root: Path | None = None,
    raw: Mapping[str, Suite] | None = None,
) -> dict[str, Any]:
    """Run the suites and write their static pages (Data Docs) under `docs_dir`.

    Parameters
    ----------
    videos, feedback, examples : DataFrame
        Clean tables and examples (docs/data.md).
    settings : QualitySettings
    docs_dir : Path
        An earlier run's pages are replaced; ``index.html`` is the entry.
    media_root : Path, optional
        Folder to which `media` is relative; without it, media files are not looked for.
    raw : mapping, optional
        Suites of the tables as they were read (`m3tr.data.raw_quality.suites`), judged with them.

    Returns
    -------
    dict
        `videos`, `feedback`, `examples` (figures of each), `expectations` (how many), `failed`
        (critical expectations that do not hold, each a sentence), `failed_critical` (how many),
        `warnings` (the others) and `suites` (the same by suite).
    """
    frames = {
        "videos": _videos_frame(videos, media_root),
        "feedback": _feedback_frame(videos, feedback),
        "examples": _examples_frame(examples),
    }
    clean = {
        name: Suite(frames[name], expectations, "video_id")
        for name, expectations in _suites(settings).items()
    }
    return {
        "videos": _video_figures(frames["videos"]),
        "feedback": _feedback_figures(feedback),
        "examples": _example_figures(frames["examples"]),
        **together(run({**(raw or {}), **clean}, docs_dir)),
    }


def _videos_frame(videos: pl.DataFrame, media_root: Path | None) -> pl.DataFrame:
    has = set(videos.columns)
    null = pl.lit(None)
    title = pl.col("title") if "title" in has else null.cast(pl.String)
    frame = videos.select(
        "video_id",
        "published_at",
        pl.when(title.str.strip_chars() != "").then(title).alias("title"),
        (pl.col("duration_s") if "duration_s" in has else null.cast(pl.Float64)).alias(
            "duration_s"
        ),
        (pl.col("media") if "media" in has else null.cast(pl.String)).alias("media"),
    )
    found = [
        None if name is None else media_root is None or (media_root / name).is_file()
        for name in frame["media"]
    ]
    # null: no media named; true: the file is there, or was not looked for
    return frame.with_columns(pl.Series("media_found", found, pl.Boolean)).drop("media")


def _feedback_frame(videos: pl.DataFrame, feedback: pl.DataFrame) -> pl.DataFrame:
    published = videos.select("video_id", "published_at")
    age = (pl.col("time") - pl.col("published_at")).dt.total_microseconds() / 86_400e6
    return (
        feedback.join(published, on="video_id", how="left")
        .group_by("video_id")
        .agg(
            pl.len().alias("rows"),
            pl.col("kind").n_unique().alias("kinds"),
            pl.col("count").min().alias("smallest_count"),
            age.min().alias("first_age_days"),
            age.max().alias("last_age_days"),
            pl.col("time").null_count().alias("missing_times"),
            pl.col("published_at").is_not_null().all().alias("known_video"),
        )
        .sort("video_id")
    )


def _examples_frame(examples: pl.DataFrame) -> pl.DataFrame:
    return examples.select(
        "video_id",
        "split",
        "age_days",
        "n_events",
        "observed",
        ((pl.col("known_at") - pl.col("observed_at")).dt.total_microseconds() / 86_400e6).alias(
            "lead_days"
        ),
        pl.col("increment").list.last().alias("increment_last"),
        pl.col("total").list.last().alias("total_last"),
        pl.col("increment").list.min().alias("increment_min"),
        (pl.col("total").list.eval(pl.element().diff().fill_null(0)).list.min()).alias(
            "total_rise_min"
        ),
    )


def _suites(settings: QualitySettings) -> "dict[str, list[Expectation]]":
    import great_expectations.expectations as gxe

    hard, soft = CRITICAL, WARNING
    between = gxe.ExpectColumnValuesToBeBetween
    filled = gxe.ExpectColumnValuesToNotBeNull

    return {
        "videos": [
            gxe.ExpectTableRowCountToBeBetween(min_value=1, **hard),
            filled(column="video_id", **hard),
            gxe.ExpectColumnValuesToBeUnique(column="video_id", **hard),
            filled(column="published_at", **hard),
            gxe.ExpectColumnValuesToBeInSet(
                column="media_found",
                value_set=[True],
                mostly=all_but(settings.max_missing_media),
                **critical(
                    "put the files that the column media of data/videos.parquet names under data/, "
                    "or raise quality.max_missing_media in params.yaml"
                ),
            ),
            filled(column="title", mostly=all_but(settings.max_missing_text), **soft),
            between(column="duration_s", min_value=0, max_value=7 * 86_400, **soft),
        ],
        "feedback": [
            gxe.ExpectTableRowCountToBeBetween(min_value=1, **hard),
            filled(column="video_id", **hard),
            gxe.ExpectColumnValuesToBeInSet(column="known_video", value_set=[True], **hard),
            between(column="smallest_count", min_value=1, **hard),
            between(column="missing_times", max_value=0, **hard),
            between(column="first_age_days", min_value=0, **hard),
            between(column="last_age_days", max_value=3_650, mostly=0.99, **soft),
        ],
        "examples": [
            gxe.ExpectTableRowCountToBeBetween(
                min_value=settings.min_examples,
                **critical("use more videos, or lower quality.min_examples in params.yaml"),
            ),
            gxe.ExpectColumnValuesToBeUnique(column="video_id", **hard),
            gxe.ExpectColumnDistinctValuesToEqualSet(
                column="split", value_set=list(SPLITS), **hard
            ),
            between(column="age_days", min_value=0, **hard),
            between(column="lead_days", min_value=0, strict_min=True, **hard),
            between(column="n_events", min_value=0, **hard),
            between(column="observed", min_value=0, **hard),
            between(column="increment_min", min_value=0, **hard),
            between(column="total_rise_min", min_value=0, **hard),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="total_last", column_B="increment_last", or_equal=True, **hard
            ),
            # a constant label can be neither learnt nor scored
            gxe.ExpectColumnStdevToBeBetween(
                column="increment_last",
                min_value=0,
                strict_min=True,
                **critical("choose another task.target or other task.horizons in params.yaml"),
            ),
        ],
    }


def _video_figures(frame: pl.DataFrame) -> dict[str, Any]:
    named = frame["media_found"].drop_nulls()
    return {
        "rows": frame.height,
        "without_title": frame["title"].null_count(),
        "without_media": frame["media_found"].null_count(),
        "missing_media": int((~named).sum()),
    }


def _feedback_figures(feedback: pl.DataFrame) -> dict[str, Any]:
    kinds = feedback.group_by("kind").agg(pl.len().alias("n"), pl.col("count").sum()).sort("kind")
    return {
        "rows": feedback.height,
        "videos": feedback["video_id"].n_unique(),
        "kinds": {kind: {"rows": n, "count": total} for kind, n, total in kinds.iter_rows()},
    }


def _example_figures(frame: pl.DataFrame) -> dict[str, Any]:
    sizes = dict(frame["split"].value_counts().iter_rows())
    mean, deviation = frame["increment_last"].mean(), frame["increment_last"].std(ddof=0)
    return {
        "rows": frame.height,
        "splits": {name: sizes.get(name, 0) for name in SPLITS},
        "increment_last_mean": mean,
        "increment_last_std": deviation,
        "without_observed_events": frame.filter(pl.col("n_events") == 0).height,
    }
