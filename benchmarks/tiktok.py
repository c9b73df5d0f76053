"""tiktok-smp, a table of posts with their final popularity, as the two tables of the library."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from m3tr.errors import InputError

# any age serves: the popularity is final, and nothing is known of the way to it
AGE = timedelta(days=7)
KIND = "view"
# taken after the posting, or no column of the video
LEFT_OUT = "^(user_.*|popularity|split|video_format)$"


def write_tables(source: Path, out: Path) -> None:
    """Write `out/videos.parquet` and `out/feedback.parquet` from the labelled posts of `source`.

    `popularity` is on a log2 scale. It becomes one feedback row of `round(2^popularity - 1)`
    views at the age of seven days, so that the label log2(1 + N) is the popularity up to the
    rounding to whole views. Codes of clusters become categories.

    Raises
    ------
    InputError
        Where `source` holds no readable `videos.parquet`.
    """
    path = source / "videos.parquet"
    try:
        posts = pl.read_parquet(path).filter(pl.col("split") == "train")
    except (OSError, pl.exceptions.PolarsError):
        raise InputError(f"{path} cannot be read: bring the dataset there") from None
    videos = posts.drop(pl.selectors.matches(LEFT_OUT)).with_columns(
        pl.selectors.ends_with("_cluster_label").cast(pl.String)
    )
    videos = videos.rename({"video_duration": "duration_s", "post_text_language": "language"})
    feedback = posts.select(
        "video_id",
        time=pl.col("published_at") + AGE,
        kind=pl.lit(KIND),
        count=(2 ** pl.col("popularity") - 1).round().cast(pl.Int64).clip(1),
    )
    out.mkdir(parents=True, exist_ok=True)
    videos.write_parquet(out / "videos.parquet")
    feedback.write_parquet(out / "feedback.parquet")
