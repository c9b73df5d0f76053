"""A world's true past, and its continuation under a known immigration."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.hawkes.simulate import simulate_counts
from m3tr.progress import track
from m3tr.simulation.feedback import MICROSECONDS_PER_DAY
from m3tr.simulation.process import BETA, KINDS, Profile, jumps


@dataclass(frozen=True)
class Case:
    """One example: what was seen up to its age, what is asked, and the truth about its video."""

    truth: dict[str, Any]  # the row of truth.parquet
    times: np.ndarray  # (n,) ages of the feedback up to `age`, days, ascending; no fake likes
    kinds: np.ndarray  # (n,) int64, index into `KINDS`
    age: float  # days
    horizons: list[float]  # ages, days


def cases(out_dir: Path, examples: pl.DataFrame, description: str) -> Iterator[Case]:
    """Each example with the true past of its video, in the order of `examples`.

    Parameters
    ----------
    out_dir : Path
        Workspace that `simulate_dataset` wrote to.
    examples : pl.DataFrame
        Columns video_id, age_days and horizon_days (ages H, in days; the same number in each row).
    description : str
        Shown while they are worked through.

    Raises
    ------
    InputError
        Where a video is not part of the world, or a table of the world is missing.
    """
    histories = true_history(out_dir)
    truth = {row["video_id"]: row for row in read_table(out_dir, "truth").iter_rows(named=True)}
    rows = examples.select("video_id", "age_days", "horizon_days").iter_rows()
    for video_id, age, horizons in track(rows, description, total=examples.height):
        if video_id not in truth:
            raise InputError(f"{out_dir}/data/truth.parquet has no video {video_id!r}.")
        times, kinds = histories.get(video_id, (np.empty(0), np.empty(0, dtype=np.int64)))
        seen = times <= age
        yield Case(truth[video_id], times[seen], kinds[seen], age, horizons)


def continuations(
    case: Case, mu: tuple[np.ndarray, np.ndarray], kind: int, seed: int, n_paths: int
) -> np.ndarray:
    """`log2(1 + N(a, H])` in `n_paths` continuations under the true branching.

    Parameters
    ----------
    case : Case
    mu : (P,) days, (P, K) events a day
        The immigration, as of `process.immigration`.
    kind : int
        Index of the feedback kind that is counted.
    seed, n_paths : int

    Returns
    -------
    (n_paths, n_horizons) float64 array
    """
    history = (case.times, case.kinds, np.ones(len(case.times)))
    # the same seed for every horizon: the shorter path is a prefix of the longer one
    counts = [
        simulate_counts(*mu, jumps(), BETA, h, seed, n_paths, history=history, start=case.age)
        for h in case.horizons
    ]
    return np.log2(1.0 + np.stack(counts, axis=1)[:, :, kind])


def kind_number(target: str, who: str) -> int:
    """Index of a feedback kind; InputError where the world has none of that name."""
    if target not in KINDS:
        raise InputError(f"{who}: unknown kind {target!r}; the world has {KINDS}.")
    return KINDS.index(target)


def true_history(out_dir: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ages (days) and kinds of each video's feedback without the fake likes."""
    truth = read_table(out_dir, "truth")
    published = read_table(out_dir, "videos").select("video_id", "published_at")
    fake = (
        truth.select("video_id", us="fake_like_us")
        .explode("us")
        .drop_nulls()
        .with_columns(kind=pl.lit("like"))
    )
    feedback = (
        read_table(out_dir, "feedback")
        .join(published, on="video_id")
        .with_columns(us=(pl.col("time") - pl.col("published_at")).dt.total_microseconds())
        .join(fake, on=["video_id", "us", "kind"], how="anti")
        .sort("video_id", "us")
    )
    codes = {name: i for i, name in enumerate(KINDS)}
    return {
        str(key[0]): (
            part["us"].to_numpy() / MICROSECONDS_PER_DAY,
            part["kind"].replace_strict(codes, return_dtype=pl.Int64).to_numpy(),
        )
        for key, part in feedback.partition_by("video_id", as_dict=True).items()
    }


def true_profile(row: dict[str, Any]) -> Profile:
    """The immigration profile in a row of truth.parquet."""
    return Profile(
        volume=row["volume"],
        trend_weight=row["trend_weight"],
        trend_days=row["trend_days"],
        surge_age=tuple(row["surge_age"]),
        surge_width=tuple(row["surge_width"]),
        surge_weight=tuple(row["surge_weight"]),
        mix=tuple(row["mix"]),
    )


def read_table(out_dir: Path, name: str) -> pl.DataFrame:
    """One table of a world."""
    return pl.read_parquet(world_file(out_dir, f"{name}.parquet"))


def world_file(out_dir: Path, name: str) -> Path:
    """A file of a world; InputError where it is missing."""
    path = Path(out_dir) / "data" / name
    if not path.exists():
        raise InputError(f"{path} is missing; write a world with `m3tr simulate` first.")
    return path
