"""Seconds, hours or days: the same data give the same fit."""

import numpy as np
import polars as pl
import pytest

from m3tr import hawkes
from m3tr.hawkes import HawkesSettings, PointProcess

SECONDS = {"hours": 3600.0, "days": 86400.0, "centuries": 86400.0 * 36525}


def in_unit(frame: pl.DataFrame, seconds: float) -> pl.DataFrame:
    """Times of a frame of events or windows in another unit."""
    times = [name for name in ("time", "end") if name in frame.columns]
    return frame.with_columns(pl.col(times) / seconds)


@pytest.fixture(scope="module")
def data() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Gaps from a tenth of a millisecond to hours, with ties; times in seconds."""
    rng = np.random.default_rng(0)
    frames, ends = [], []
    for i in range(40):
        gap = 10 ** rng.uniform(-4, 4, 60)
        gap[rng.random(60) < 0.15] = 0.0
        gap[0] = 1.0
        time = gap.cumsum()
        kind, count = rng.choice(["a", "b"], 60), rng.integers(1, 9, 60)
        frames.append(pl.DataFrame({"time": time, "kind": kind, "count": count}))
        frames[-1].insert_column(0, pl.Series("sequence", [i] * 60))
        ends.append(time[-1] * 1.1)
    return pl.concat(frames), pl.DataFrame({"sequence": range(40), "end": ends})


def same(one: PointProcess, two: PointProcess, data, seconds: float, tolerance: float) -> None:
    """Both say the same of the data, each in its unit."""
    frame, windows = data
    other = (in_unit(frame, seconds), in_unit(windows, seconds))
    first, second = one.log_likelihood(frame, windows), two.log_likelihood(*other)
    assert first.per_event == pytest.approx(second.per_event - np.log(seconds), abs=tolerance)
    rate = first.events["log_intensity"] - second.events["log_intensity"] + np.log(seconds)
    assert rate.abs().max() < 50 * tolerance
    assert one.branching_ratio == pytest.approx(two.branching_ratio, abs=tolerance)
    ahead = one.forecast(frame, [600.0], windows, quantiles=())["mean"].to_numpy()
    again = two.forecast(other[0], [600.0 / seconds], other[1], quantiles=())["mean"].to_numpy()
    assert np.abs(ahead / again - 1).max() < 50 * tolerance


@pytest.mark.parametrize("unit", SECONDS)
@pytest.mark.parametrize("options", [{}, {"penalty": "scad"}])
def test_the_classical_process(data, unit, options):
    seconds, settings = SECONDS[unit], HawkesSettings(context=False, scales=2)
    one = hawkes.fit(data[0], settings, data[1], **options)
    two = hawkes.fit(in_unit(data[0], seconds), settings, in_unit(data[1], seconds), **options)
    same(one, two, data, seconds, 1e-6)
    errors = [p.standard_errors.filter(pl.col("parameter") == "alpha") for p in (one, two)]
    assert np.allclose(errors[0]["value"], errors[1]["value"], atol=1e-6)
    assert np.allclose(*(e["error"].fill_null(-1.0) for e in errors), rtol=1e-4)


@pytest.mark.parametrize("unit", SECONDS)
def test_the_neural_process(data, unit):
    seconds = SECONDS[unit]
    settings = HawkesSettings(scales=3, width=16, epochs=3, batch_size=16)
    one = hawkes.fit(data[0], settings, data[1])
    two = hawkes.fit(in_unit(data[0], seconds), settings, in_unit(data[1], seconds))
    same(one, two, data, seconds, 2e-4)
