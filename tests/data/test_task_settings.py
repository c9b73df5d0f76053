"""Durations, clocks and the sentences told on a mistake."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from m3tr.data.settings import (
    QualitySettings,
    TaskSettings,
    days,
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6h", 21_600), ("3d", 259_200), ("90min", 5_400), ("1.5h", 5_400), ("2w", 1_209_600)]
    + [("10s", 10), (0, 0), ("0h", 0), (" 7 d ", 604_800)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "text", ["6", 6, "h", "-1d", "1 month", None, True, "1e3d", timedelta(-1), "9" * 20 + "w"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_a_written_duration_reads_back(seconds):
    value = timedelta(seconds=seconds)
    assert parse_duration(format_duration(value)) == value
    assert days(value) == seconds / 86_400


def test_a_task_survives_a_file():
    task = TaskSettings(
        observe={"until": "2021-05-02T14:00:00+02:00"}, horizons=["6h", "3d"], split="random"
    )
    assert task.observe.until == datetime(2021, 5, 2, 12, tzinfo=UTC)
    assert TaskSettings.model_validate(task.model_dump(mode="json")) == task
    naive = TaskSettings(observe={"until": datetime(2021, 5, 2)}, horizons=["6h"])
    assert naive.observe.until == datetime(2021, 5, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observe": {"age": "1d"}, "horizons": ["6h"]}, "6h is not after the observation age 1d"),
        ({"observe": {"age": "1d"}, "horizons": ["1d"]}, "1d is not after the observation age 1d"),
        ({"observe": {"until": "2021-05-02"}, "horizons": ["0h"]}, "0s must lie after the clock"),
        ({"observe": {}}, "exactly one of age"),
        ({"observe": {"age": "1d", "until": "2021-05-02"}}, "exactly one of age"),
        ({"observe": {"until": "soon"}}, "'soon' is no time"),
        ({"horizons": []}, "at least 1"),
        ({"horizons": ["8d", "3d"]}, "must ascend"),
        ({"horizons": ["3d", "3d"]}, "must ascend"),
        ({"fractions": (0.8, 0.0, 0.2)}, "positive"),
        ({"fractions": (0.7, 0.2, 0.2)}, "to 1 or less"),
        ({"fractions": (0.5, 0.1, 0.1), "split": "random"}, r"sum to 1 \["),
        ({"group_by": "creator_id"}, "needs split: random"),
        ({"fold": 1}, "fold: 1 needs split: random"),
        ({"fold": -1, "split": "random"}, "greater than or equal to 0"),
        ({"fold": 5, "split": "random"}, "a test share of 0.2 makes 5 folds"),
        ({"cuts": ["2024-03-01"]}, "two or three ascending times"),
        ({"cuts": ["2024-03-01", "2024-02-01"]}, "two or three ascending times"),
        ({"cuts": ["2024-03-01", "2024-04-01"], "split": "random"}, "need split: temporal"),
        ({"min_events": -1}, "greater than or equal to 0"),
        ({"windows": 3}, "Extra inputs"),
    ],
)
def test_mistakes_are_told(changes, words):
    with pytest.raises(ValidationError, match=words):
        TaskSettings(**changes)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        TaskSettings().seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        QualitySettings(max_quarantined=1.5)
