"""Single values of a request, each read or refused with one sentence.

`where` opens the sentence: the row and its video.
"""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from m3tr.errors import InputError

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
LATEST_AGE_DAYS = 36_500
FEEDBACK_REMEDY = 'write [[age in days, "kind", count], ...]'


def plain(value: Any) -> Any:
    """A cell without pandas' and numpy's ways to say that it is missing."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple | dict | str):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    return value


def video_ids(values: list[Any]) -> list[str]:
    """The column `video_id`: non-empty texts (or whole numbers), each once."""
    first: dict[str, int] = {}
    for row, value in enumerate(values):
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise InputError(f"Row {row}: video_id is {value!r}; write a text that is not empty.")
        if (before := first.setdefault(str(value), row)) != row:
            raise InputError(f"Rows {before} and {row} are both video {value}; send it once.")
    return list(first)


def instant(value: Any, where: str, column: str) -> datetime:
    """An ISO 8601 text or a timestamp, in UTC; without a zone it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            value = value.strip()
    elif hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime(warn=False)
    if not isinstance(value, datetime):
        raise InputError(
            f"{where}: {column} is {value!r}; write an ISO 8601 time such as 2024-01-31T18:00:00Z."
        )
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if not EARLIEST <= value <= LATEST:
        raise InputError(f"{where}: {column} is {value}; give a time between 1970 and 2200.")
    return value.astimezone(UTC)


def feedback_entries(value: Any, where: str) -> list[tuple[float, str, int]]:
    """The column `feedback`: (age in days, kind, count) of each entry of a JSON list."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{where}: feedback is no JSON ({error}); {FEEDBACK_REMEDY}."
            ) from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{where}: feedback is no list; {FEEDBACK_REMEDY}.")
    return [_entry(entry, f"{where}: feedback entry {i}") for i, entry in enumerate(value)]


def _entry(entry: Any, where: str) -> tuple[float, str, int]:
    if not isinstance(entry, list) or len(entry) != 3:
        raise InputError(f"{where} is {entry!r}; {FEEDBACK_REMEDY}.")
    age, kind, count = entry
    if not is_number(age) or not 0 <= age <= LATEST_AGE_DAYS:
        raise InputError(f"{where} has the age {age!r}; give days since publication, 0 or more.")
    if not isinstance(kind, str) or not kind:
        raise InputError(f"{where} has the kind {kind!r}; give the name of a feedback kind.")
    if not is_number(count) or count != int(count) or not 1 <= count < 2**53:
        raise InputError(f"{where} has the count {count!r}; give a whole number, 1 or more.")
    return float(age), kind, int(count)


def is_number(value: Any) -> bool:
    """True for a finite number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def finite(value: Any, where: str, column: str) -> float | None:
    """A number, also one written as text; None stays None."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: {column} is {value!r}; give a finite number or null.")
    return number


def media_file(value: Any, where: str) -> str | None:
    """A path, absolute or from the current folder, of a file that exists on this machine."""
    if value is None:
        return None
    if not isinstance(value, str) or not Path(value).is_file():
        raise InputError(
            f"{where}: there is no media file {value!r} on this machine; give a path that exists "
            "or leave media out."
        )
    return value


def is_tokens(value: Any) -> bool:
    """True for a list of token vectors, false for one plain vector."""
    return isinstance(value, list) and any(v is None or isinstance(v, list) for v in value)


def vector(value: Any, width: int, where: str, column: str) -> list[float]:
    """A vector of `width` finite numbers."""
    if not isinstance(value, list) or not 0 < len(value) == width or not all(map(is_number, value)):
        raise InputError(
            f"{where}: {column} must hold vectors of {width or 'some'} finite numbers, the same "
            "length in every row."
        )
    return value
