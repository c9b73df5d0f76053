"""What can be wrong with a video when it is forecast: tables in, tables out, by a seed.

Notable:
- labels are computed before, and nothing here touches a row after a video's clock;
- only the videos of `examples` change, each by draws that do not depend on the order of rows.
"""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from m3tr.features.store import Features

Shape = Literal["bots", "burst"]
BURST = 1 / 24  # of the observation window: the hour before the clock of a day
KEY = ["video_id", "time", "kind"]
COLUMNS = [*KEY, "count"]
# what is no metadata: identity, the clock, what is read as text, the media file
KEPT = {"video_id", "published_at", "creator_id", "title", "description", "media"}


class Attack(NamedTuple):
    """Fake feedback inside the window (0, a] of a video.

    Attributes
    ----------
    shape : {"bots", "burst"}
        Uniform over the window, or over its last 24th, which ends at the clock.
    kind : str
        Of the fakes.
    share : float
        Fakes per observed count of the target kind, whatever their own kind.
    """

    shape: Shape
    kind: str
    share: float


def without_feedback(feedback: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Feedback without the rows that the examples' queries may use."""
    place = feedback.with_row_index("_row")
    clocks = examples.select("video_id", "observed_at")
    seen = place.join(clocks, on="video_id").filter(pl.col("time") <= pl.col("observed_at"))
    return place.join(seen, on="_row", how="anti", maintain_order="left").drop("_row")


def without_modalities(
    videos: pl.DataFrame, features: Features, modalities: Collection[str]
) -> tuple[pl.DataFrame, Features]:
    """The videos with some of `visual`, `audio`, `text` absent; titles go with the text."""
    gone = [c for c in ("title", "description") if "text" in modalities and c in videos.columns]
    nothing = [pl.lit(None, videos.schema[c]).alias(c) for c in gone]
    tokens = {m: np.zeros_like(x) if m in modalities else x for m, x in features.tokens.items()}
    mask = {m: np.zeros_like(x) if m in modalities else x for m, x in features.mask.items()}
    return videos.with_columns(nothing), Features(features.ids, tokens, mask)


def without_metadata(videos: pl.DataFrame) -> pl.DataFrame:
    """The videos with every number and category null: creator's counts, category, length."""
    gone = [c for c in videos.columns if c not in KEPT]
    return videos.with_columns(pl.lit(None, videos.schema[c]).alias(c) for c in gone)


def with_fakes(
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    attack: Attack,
    target: str,
    counters: bool,
    seed: int,
) -> pl.DataFrame:
    """Feedback with fakes in the windows of the examples.

    Parameters
    ----------
    feedback : DataFrame
        `video_id`, `time`, `kind`, `count`.
    examples : DataFrame
        `video_id`, `published_at`, `observed_at`: the videos that are attacked.
    attack : Attack
    target : str
        The kind whose count up to the clock, times `attack.share`, rounded half up, is the number
        of a video's fakes.
    counters : bool
        Whether rows are readings of counters: a fake then counts in the video's first reading
        at or after it (after the last one by the clock: in that). In an event log it is a row.
    seed : int
        Decides the times.
    """
    place = examples.select("video_id", "published_at", "observed_at").sort("video_id")
    inside = feedback.join(place, on="video_id").filter(
        pl.col("time") > pl.col("published_at"), pl.col("time") <= pl.col("observed_at")
    )
    seen = inside.filter(pl.col("kind") == target).group_by("video_id").agg(pl.col("count").sum())
    count = place.join(seen, on="video_id", how="left", maintain_order="left")["count"]
    amount = np.floor(attack.share * count.fill_null(0).to_numpy() + 0.5).astype(int)
    start, end = (place[c].dt.epoch("us").to_numpy() for c in ("published_at", "observed_at"))
    if attack.shape == "burst":
        start = np.minimum(end - 1, end - np.round((end - start) * BURST).astype(np.int64))
    rng = np.random.default_rng(seed)
    windows = Windows(place["video_id"].to_numpy(), start, end, amount)
    if counters:
        return _counted(feedback, _readings(windows, inside, attack.kind, rng))
    drawn = rng.integers(np.repeat(start, amount) + 1, np.repeat(end, amount) + 1)
    fakes = {
        "video_id": np.repeat(windows.video, amount),
        "time": drawn,
        "count": np.ones_like(drawn),
    }
    return pl.concat([feedback, _rows(fakes, attack.kind, feedback)])


def with_mixed_fakes(
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    attacks: Sequence[Attack],
    part: float,
    target: str,
    counters: bool,
    seed: int,
) -> pl.DataFrame:
    """A part of the examples' videos attacked, equally many by each attack, drawn at random."""
    place = examples.sort("video_id")
    chosen = np.random.default_rng(seed).permutation(len(place))[: round(part * len(place))]
    for i, attack in enumerate(attacks):
        victims = place[np.sort(chosen[i :: len(attacks)]).tolist()]
        feedback = with_fakes(feedback, victims, attack, target, counters, seed + i)
    return feedback


class Windows(NamedTuple):
    """Where fakes come to N videos: in `(start, end]`, microseconds since 1970, `amount` each."""

    video: np.ndarray
    start: np.ndarray
    end: np.ndarray
    amount: np.ndarray


def _rows(columns: dict[str, np.ndarray], kind: str, like: pl.DataFrame) -> pl.DataFrame:
    """Fakes as a table of the schema of `like`."""
    table = pl.DataFrame(columns, schema_overrides={"video_id": pl.String, "time": pl.Int64})
    table = table.with_columns(pl.lit(kind).alias("kind"))
    return table.select(pl.col(c).cast(like.schema[c]) for c in like.columns)


def _readings(
    windows: Windows, inside: pl.DataFrame, kind: str, rng: np.random.Generator
) -> pl.DataFrame:
    """Fakes summed by reading: there may be millions, so their number in each is drawn at once."""
    times = inside.select("video_id", pl.col("time").dt.epoch("us")).unique().sort("time")
    by_video = dict(times.group_by("video_id", maintain_order=True).agg("time").iter_rows())
    video, time, count = [], [], []
    for name, start, end, amount in zip(*windows, strict=True):
        if amount == 0:
            continue
        at = np.array(by_video[name])
        # a reading counts what came since the one before; the last one also what came after it
        edges = np.concatenate([[start], np.clip(at[:-1], start, end), [end]])
        here = rng.multinomial(amount, np.diff(edges) / (end - start))
        some = here > 0
        video += [name] * int(some.sum())
        time.append(at[some])
        count.append(here[some])
    columns = {"video_id": np.array(video, dtype=object)}
    columns |= {
        n: np.concatenate(x) if x else np.zeros(0, int)
        for n, x in (("time", time), ("count", count))
    }
    return _rows(columns, kind, inside.select(COLUMNS))


def _counted(feedback: pl.DataFrame, fakes: pl.DataFrame) -> pl.DataFrame:
    """Counts raised by the fakes of the same video, time and kind; others are new rows."""
    # of several rows of one reading only the first is raised
    nth = pl.int_range(pl.len()).over(KEY).alias("_nth")
    more = fakes.rename({"count": "_fakes"}).with_columns(_nth=pl.lit(0, pl.Int64))
    raised = feedback.with_columns(nth).join(
        more, on=[*KEY, "_nth"], how="left", maintain_order="left"
    )
    raised = raised.with_columns(pl.col("count") + pl.col("_fakes").fill_null(0))
    new = fakes.join(feedback, on=KEY, how="anti", maintain_order="left")
    return pl.concat([raised.select(feedback.columns), new.select(feedback.columns)])
