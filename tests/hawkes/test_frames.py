"""Frames in: what is read, and the sentence that a mistake gets."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from m3tr import hawkes
from m3tr.errors import InputError
from m3tr.hawkes.frames import kinds_of, read

FRAME = pl.DataFrame(
    {
        "sequence": ["b", "a", "b", "b"],
        "time": [0.5, 1.0, 0.25, 0.5],
        "kind": ["view", "like", "view", "like"],
        "count": [3, 1, 2, 5],
    }
)
WINDOWS = pl.DataFrame({"sequence": ["b", "none", "a"], "end": [2.0, 1.0, 1.5]})
KINDS = ["like", "view"]


def test_windows_give_the_sequences_and_their_order():
    found = read(FRAME, WINDOWS, KINDS)
    assert found.ids.to_list() == ["b", "none", "a"]
    assert found.events.end.tolist() == [2.0, 1.0, 1.5]
    assert found.events.lengths.tolist() == [3, 0, 1]
    assert found.events.kind[0].tolist() == [1, 0, 1] and found.events.count[0, 0] == 2
    assert FRAME[found.rows["_at"].to_list()].select("time").equals(found.rows.select("time"))


def test_without_windows_a_sequence_runs_from_zero_to_its_last_event():
    found = read(FRAME, None, KINDS)
    assert found.ids.to_list() == ["a", "b"] and found.events.end.tolist() == [1.0, 0.5]


def test_a_start_shifts_the_clock():
    shifted = FRAME.with_columns(pl.col("time") + 7.0)
    windows = WINDOWS.with_columns(pl.col("end") + 7.0, pl.lit(7.0).alias("start"))
    one, two = read(FRAME, WINDOWS, KINDS), read(shifted, windows, KINDS)
    assert np.allclose(one.events.time, two.events.time) and two.start.tolist() == [7.0] * 3
    assert np.allclose(one.events.end, two.events.end)


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt64, pl.String, pl.Categorical])
def test_ids_and_kinds_come_back_as_given(dtype):
    frame = pl.DataFrame({"sequence": [10, 2], "time": [1.0, 2.0], "kind": [30, 4]})
    frame = frame.with_columns(pl.col("sequence", "kind").cast(pl.String).cast(dtype))
    kinds = kinds_of(frame)
    found = read(frame, None, kinds)
    text = dtype in (pl.String, pl.Categorical)
    assert kinds == (["30", "4"] if text else [4, 30])
    assert found.ids.to_list() == (["10", "2"] if text else [2, 10])
    assert found.ids.dtype == (pl.String if text else dtype)


@pytest.mark.parametrize("name", ["start", "end", "_row", "_at", "_key", "_kind", "_from_start"])
@pytest.mark.parametrize("windows", [None, WINDOWS])
def test_other_columns_of_a_frame_are_left_alone(name, windows):
    other = FRAME.with_columns(pl.lit(-3.0).alias(name))
    one, two = read(FRAME, windows, KINDS), read(other, windows, KINDS)
    assert one.rows.equals(two.rows) and one.ids.equals(two.ids)
    for part in ("time", "kind", "count", "mask", "end"):
        assert getattr(one.events, part).equal(getattr(two.events, part))


START = datetime(2024, 1, 1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (pl.lit("share").alias("kind"), r"row 0 .*kind is not one of \['like', 'view'\]; drop"),
        (pl.lit(None, dtype=pl.String).alias("kind"), "row 0 .*kind is missing"),
        (pl.lit(None, dtype=pl.String).alias("sequence"), "row 0 .*sequence is missing"),
        (pl.lit(-0.1).alias("time"), "row 0 .*before the start of its window"),
        (pl.col("time") * 4, "row 1 .*after the end of its window; drop it or end the window late"),
        (pl.lit(float("nan")).alias("time"), "row 0 .*not a finite number"),
        (pl.lit(None, dtype=pl.Float64).alias("time"), "row 0 .*time is missing"),
        (pl.when(pl.col("time") < 0.5).then(0).otherwise(1).alias("count"), "row 2 .*not positive"),
        (pl.lit("other").alias("sequence"), "row 0 .*no window; add one or drop the row"),
        (pl.lit("0.5").alias("time"), "'time' is String; numbers of one unit"),
        (pl.lit(START).alias("time"), "'time' is Datetime.*subtract the start"),
        (pl.lit(START.date()).alias("time"), "'time' is Date.*subtract the start"),
        (pl.lit(timedelta(1)).alias("time"), "'time' is a duration; make it a number"),
        (pl.lit(1.5).alias("sequence"), "'sequence' is Float64; cast it"),
    ],
)
def test_a_bad_row_is_named_with_the_remedy(change, text):
    with pytest.raises(InputError, match=text) as caught:
        read(FRAME.with_columns(change), WINDOWS, KINDS)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("windows", "text"),
    [
        (pl.concat([WINDOWS, WINDOWS]), "windows: row 3 .*has a window already"),
        (WINDOWS.with_columns(pl.lit(None, dtype=pl.Float64).alias("end")), "row 0 .*missing"),
        (WINDOWS.with_columns(pl.lit(float("inf")).alias("end")), "row 0 .*not a finite"),
        (WINDOWS.with_columns(pl.lit(1.75).alias("start")), "row 1 .*ends before it starts"),
        (WINDOWS.drop("end"), "windows: column 'end' is missing"),
        (WINDOWS.with_columns(pl.lit(START).alias("end")), "windows: column 'end' is Datetime"),
        (WINDOWS.clear(), "no rows"),
        (WINDOWS.with_columns(pl.lit(1.5).alias("sequence")), "windows: column 'sequence' is Fl"),
    ],
)
def test_a_bad_window_is_named(windows, text):
    with pytest.raises(InputError, match=text):
        read(FRAME, windows, KINDS)


@pytest.mark.parametrize("name", ["none", "300", "01"])
def test_ids_of_windows_must_fit_those_of_the_events(name):
    frame = pl.DataFrame({"sequence": [1], "time": [1.0], "kind": ["a"]})
    frame = frame.with_columns(pl.col("sequence").cast(pl.UInt8))
    windows = pl.DataFrame({"sequence": ["1", name], "end": [2.0, 2.0]})
    with pytest.raises(InputError, match=f"windows: sequence '{name}' is no UInt8"):
        read(frame, windows, ["a"])


def test_frames_that_are_none():
    for frame, text in [
        (FRAME.lazy(), "collect"),
        (FRAME.to_dict(), "polars DataFrame is needed, not dict"),
        (FRAME.drop("kind"), "'kind' is missing"),
        (FRAME.clear(), "no rows"),
    ]:
        with pytest.raises(InputError, match=text):
            read(frame, None, KINDS)
    assert read(FRAME.clear(), WINDOWS, KINDS).events.lengths.tolist() == [0, 0, 0]


def test_absolute_times_are_not_taken_for_ages():
    frame = pl.DataFrame({"sequence": [1] * 20, "time": 1.7e9 + np.arange(20), "kind": ["a"] * 20})
    with pytest.raises(InputError, match="long after 0; subtract its start"):
        read(frame, None, ["a"])
    windows = pl.DataFrame({"sequence": [1], "start": [1.7e9], "end": [1.7e9 + 20]})
    assert read(frame, windows, ["a"]).events.time[0, :3].tolist() == [0.0, 1.0, 2.0]


CLASSICAL = hawkes.HawkesSettings(context=False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"frame": FRAME.clear()}, "no events"),
        ({"frame": FRAME.with_columns(time=0.0)}, "no event lies after the start"),
        ({"kinds": ["view", "view"]}, "twice"),
        ({"kinds": [1.5]}, "strings or integers"),
        ({"kinds": [True]}, "strings or integers"),
        ({"kinds": "view"}, "'view' must be a list"),
        ({"kinds": 5}, "5 must be a list"),
        ({"settings": {"epochs": 1}}, r"pass HawkesSettings\(...\), not \{'epochs': 1\}"),
        ({"held": 5, "penalty": "lasso"}, "5 must be a list"),
        ({"held": "a", "penalty": "lasso"}, "'a' must be a list"),
        ({"penalty": "ridge"}, "not one of none, lasso"),
        ({"strength": 0.1}, "a strength needs a penalty"),
        ({"penalty": "lasso", "settings": None}, "context=False"),
        ({"held": ["a"]}, "neither is open"),
        ({"held": ["x"], "penalty": "lasso"}, "'x' is not in the data"),
        ({"held": [], "penalty": "lasso"}, "names no sequence"),
        ({"held": ["a", "b"], "penalty": "lasso"}, "leaves no event"),
    ],
)
def test_arguments_that_contradict_one_another(arguments, text):
    with pytest.raises(InputError, match=text):
        hawkes.fit(**({"frame": FRAME, "settings": CLASSICAL} | arguments))
