"""Settings of the task (what is predicted from what) and of the data's quality."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
SECONDS_A_DAY = 86_400.0
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d|w)\s*")


def parse_duration(value: Any) -> timedelta:
    """Read a duration such as ``"90min"``, ``"6h"``, ``"3d"`` or ``0``.

    Parameters
    ----------
    value : str, timedelta or 0
        A number and one unit of s, min, h, d, w.

    Raises
    ------
    ValueError
        The text is no such duration, is negative, or is longer than a timedelta can hold.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise ValueError(f"the duration {format_duration(value)} is negative")
        return value
    if not isinstance(value, bool) and value in (0, "0"):
        return timedelta(0)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f"{value!r} is no duration: write a number and a unit of s, min, h, d, w, as in '6h'"
        )
    try:
        return timedelta(seconds=float(match[1]) * SECONDS[match[2]])
    except OverflowError:
        raise ValueError(f"the duration {value!r} is too long") from None


def format_duration(value: timedelta) -> str:
    """Write a duration in its largest whole unit; the inverse of `parse_duration`."""
    seconds = value.total_seconds()
    for unit in ("d", "h", "min"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{seconds / SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s" if seconds < 1e6 else f"{seconds:.6f}s"


def days(value: timedelta) -> float:
    """Length in days, the unit of time inside the models."""
    return value.total_seconds() / SECONDS_A_DAY


def _clock(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                f"{value!r} is no time: write it as in '2021-05-02T12:00:00Z'"
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        # like the tables: a time without a zone is UTC
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"the time {value} is none in UTC") from None
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
]
Clock = Annotated[datetime, BeforeValidator(_clock)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Observe(_Settings):
    """When a prediction is made: at one age of every video, or at one calendar time.

    Exactly one is given. `age` 0 is a cold start: content only.
    """

    age: Duration | None = None
    until: Clock | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.age is None) == (self.until is None):
            raise ValueError("observe needs exactly one of age (as in 1d) and until (a time)")
        return self


class TaskSettings(_Settings):
    """What is predicted, from what, and how the videos are split (docs/model.md, 1 and 2).

    Parameters
    ----------
    target : str
        The feedback kind that is predicted.
    observe : Observe
        The prediction's clock tau.
    horizons : tuple of durations
        Ages of the video under `observe.age`, leads after the clock under `observe.until`.
    split : "temporal" or "random"
    fractions : tuple of three floats
        Shares of training, validation and test. They sum to one; under the temporal split also to
        less, and what is later than the test part is left out of the task (rolling origins).
    cuts : tuple of two or three datetimes, optional
        Under the temporal split, instead of `fractions`: when validation begins, when test begins
        and, with a third, when test ends.
    fold : int
        Under the random split: which part of the test share's size is the test part. Fold 0 is
        the last one of the random order, fold 1 the one before, and so on: disjoint test parts,
        which cover everything where the test share is one over a whole number.
    group_by : str, optional
        Column of the videos table whose groups stay whole under the random split; no video is
        shown one of its own group, and no fold of the training videos cuts one.
    embargo : bool
        Under the temporal split, drop what was not yet known when the next split begins.
    min_events : int
        Feedback rows, of any kind, that a video needs by tau.
    observed_until : datetime, optional
        End of the data; by default the last feedback row.
    seed : int
        Of the random split.
    """

    target: str = Field("view", min_length=1)
    observe: Observe = Observe(age=timedelta(days=1))
    horizons: tuple[Duration, ...] = Field((timedelta(days=7),), min_length=1)
    split: Literal["temporal", "random"] = "temporal"
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    cuts: tuple[Clock, ...] | None = None
    fold: int = Field(0, ge=0)
    group_by: str | None = None
    embargo: bool = True
    min_events: int = Field(0, ge=0)
    observed_until: Clock | None = None
    seed: int = 7

    @property
    def kept_whole(self) -> str:
        """Column of the videos table whose groups no fold of the training videos may cut."""
        return "creator_id" if self.group_by in (None, "video_id") else str(self.group_by)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        written = [format_duration(h) for h in self.horizons]
        for before, after, text in zip(self.horizons, self.horizons[1:], written[1:], strict=False):
            if after <= before:
                raise ValueError(f"horizons must ascend, but {text} comes after a longer or equal")
        age = self.observe.age
        floor = timedelta(0) if age is None else age
        if self.horizons[0] <= floor:
            if age is None:
                raise ValueError(f"the horizon {written[0]} must lie after the clock")
            raise ValueError(
                f"the horizon {written[0]} is not after the observation age "
                f"{format_duration(age)}: name a later horizon or a younger age"
            )
        self._check_parts()
        return self

    def _check_parts(self) -> None:
        total, temporal = sum(self.fractions), self.split == "temporal"
        if min(self.fractions) <= 0 or total > 1 + 1e-6 or (total < 1 - 1e-6 and not temporal):
            less = "; under the temporal split to 1 or less" if temporal else ""
            raise ValueError(f"fractions must be three positive shares that sum to 1{less}")
        if self.cuts is not None:
            if not temporal:
                raise ValueError("cuts are times, they need split: temporal")
            ascend = all(a < b for a, b in zip(self.cuts, self.cuts[1:], strict=False))
            if len(self.cuts) not in (2, 3) or not ascend:
                raise ValueError(
                    "cuts must be two or three ascending times: when validation begins, when test "
                    "begins, when test ends"
                )
        if temporal and self.group_by is not None:
            raise ValueError("group_by needs split: random, the temporal split keeps no groups")
        if temporal and self.fold:
            raise ValueError(
                f"fold: {self.fold} needs split: random; under the temporal split, shorter "
                "fractions make an earlier origin"
            )
        folds = int(1 / self.fractions[2] + 1e-6)
        if self.fold >= folds:
            raise ValueError(
                f"fold: {self.fold} does not exist: a test share of {self.fractions[2]:g} makes "
                f"{folds} folds, numbered from 0"
            )


Share = Annotated[float, Field(ge=0, le=1)]


class MinCoverage(_Settings):
    """Share of the videos that must have a modality; data without media are legitimate."""

    visual: Share = 0.0
    audio: Share = 0.0
    text: Share = 0.0


class QualitySettings(_Settings):
    """How much dirt is tolerated before the pipeline stops.

    Parameters
    ----------
    max_quarantined : float
        Share of a table's rows that may go to the quarantine.
    max_missing_media : float
        Share of the videos that name a media file whose file may be missing.
    max_missing_text : float
        Share of videos that may have no title; more is a warning.
    max_nulls : float
        Share of nulls in any other column that need not be filled; more is a warning.
    max_likes_above_views : float
        Share of the videos with likes that may have more likes than views.
    min_examples : int
        Examples needed to go on.
    min_coverage : MinCoverage
        Share of the videos that must have each modality.
    max_norm : float
        Length of the longest feature vector.
    max_constant : float
        Share of a modality's dimensions that may never change; more is a warning. Where those of
        no modality change, the pipeline stops, unless this is 1.
    max_duplicates : float
        Share of a modality's videos that may have the vectors of another; more is a warning.
    max_drift : float
        Share of a modality's dimensions that may have moved since the version before, and by how
        much its coverage may have changed; more is a warning.
    """

    max_quarantined: Share = 0.02
    max_missing_media: Share = 0.2
    max_missing_text: Share = 0.5
    max_nulls: Share = 0.5
    max_likes_above_views: Share = 0.1
    min_examples: int = Field(50, ge=1)
    min_coverage: MinCoverage = MinCoverage()
    max_norm: float = Field(1e6, gt=0)
    max_constant: Share = 0.5
    max_duplicates: Share = 0.5
    max_drift: Share = 0.1
