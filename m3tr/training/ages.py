"""The training videos at other ages: what a forecast looks like a little earlier and later.

A booster that sees each video several times, each time with what was known by then and what came
after, learns how much of a difference is chance (docs/model.md, section 5).
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from m3tr.data.settings import TaskSettings
from m3tr.data.windows import labelled, observed
from m3tr.features.store import Features
from m3tr.hawkes.process import MambaHawkes
from m3tr.model.queries import Queries, temporal_representation


def at_other_ages(
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    features: Features,
    mhp: MambaHawkes,
    task: TaskSettings,
    multiples: Sequence[float],
) -> list[Queries]:
    """Queries of the training split, with labels, at multiples of the observation age.

    Horizons stay where they are, so that an age has to lie before the first; other multiples, and
    all of them under one calendar clock, are left out. A video counts at an age where it had the
    events that the task asks for.

    Parameters
    ----------
    videos, feedback, examples : DataFrame
        The clean tables and all examples.
    features : Features
        Of the examples, in their order.
    multiples : sequence of float
    """
    own = task.observe.age
    if not own:
        return []
    until: datetime = examples["known_at"].max()  # type: ignore[assignment]
    training = examples.filter(pl.col("split") == "train").select("video_id")
    rows = training.join(videos, on="video_id", how="left", maintain_order="left")
    out = []
    for age in sorted({own * m for m in multiples} - {own}):
        if not own * 0 < age < task.horizons[0]:
            continue
        then = task.model_copy(update={"observe": task.observe.model_copy(update={"age": age})})
        own_examples, _ = labelled(rows, feedback, then, until)
        if own_examples.is_empty():
            continue
        seen = observed(feedback, own_examples).filter(pl.col("kind").is_in(mhp.kinds))
        ids = own_examples.select("video_id")
        out.append(
            Queries(
                own_examples,
                ids.join(videos, on="video_id", how="left", maintain_order="left"),
                seen,
                features.select(ids["video_id"].to_list()),
                temporal_representation(mhp, seen, own_examples),
            )
        )
    return out
