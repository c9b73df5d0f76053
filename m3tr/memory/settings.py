"""Settings of the memory bank."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from m3tr.data.settings import Duration, days
from m3tr.memory.approximate.settings import IndexSettings

HEAVIEST = 1e6  # weight of a modality; a larger one would be lost in rounding
YOUNGER = (1 / 8, 1 / 4, 1 / 2)  # shares of the task's age


def _number(value: Any, least: float, most: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and least <= value <= most


def _share(value: Any) -> Any:
    # one sentence for both forms, where a union would speak of each
    if value != "learned" and not _number(value, 0, 1):
        raise ValueError(f"{value!r} is not between 0 and 1, nor 'learned'")
    return value


def _weights(value: Any) -> Any:
    known = ("visual", "audio", "text", "numbers")
    fits = isinstance(value, Mapping) and all(
        m in known and _number(w, 0, HEAVIEST) for m, w in value.items()
    )
    if value != "learned" and not fits:
        raise ValueError(
            f"{value!r} is neither 'learned' nor weights, none negative, of {', '.join(known)}"
        )
    return value


class BankSettings(BaseModel):
    """How neighbours are scored and averaged (docs/retrieval.md).

    Attributes
    ----------
    eta : float or "learned"
        Weight of trajectory against content similarity; 1 is trajectory only, 0 content only.
    weights : dict of str to float, or "learned"
        Weight of each modality in the content similarity; one that is not named has 1.
    trajectory : str
        The trajectory's key: `likelihood`, X_s as it is, or `supervised`, trained so that near keys
        mean near futures.
    numbers : bool
        Whether the videos' numbers (creator, category, length, hour) are a modality of content.
    ages : list of durations, optional
        Ages below that of the task at which items can be met by younger queries; without it an
        eighth, a quarter and half of the task's own.
    k : int
        Neighbours retrieved for each query.
    retrieve : bool
        Whether forecasts look at the bank at all; without it they know the video alone.
    index : IndexSettings
        Which index a large bank gets.
    weighting : str
        `mean`, or `softmax` of the scores at `temperature`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    eta: Annotated[float | Literal["learned"], BeforeValidator(_share)] = 0.5
    weights: Annotated[dict[str, float] | Literal["learned"], BeforeValidator(_weights)] = {}
    trajectory: Literal["likelihood", "supervised"] = "likelihood"
    numbers: bool = False
    ages: list[Duration] | None = None
    k: int = Field(10, ge=1)
    retrieve: bool = True
    index: IndexSettings = IndexSettings()
    weighting: Literal["mean", "softmax"] = "mean"
    temperature: float = Field(0.1, gt=0)

    def younger(self, age: float | None) -> list[float]:
        """Ages in days, ascending, at which items have trajectories beside that at `age`, days.

        None are below an age of 0, nor where the clock is one calendar time (`age` None).
        """
        if not age:
            return []
        if self.ages is None:
            return sorted(_written(age * share) for share in YOUNGER)
        return sorted({_written(days(each)) for each in self.ages})


def _written(age: float) -> float:
    """An age as it can be read again from the name of a file or an array."""
    return float(f"{age:.9g}")
