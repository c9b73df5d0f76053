"""Wrong questions get one sentence, and numbers of numpy are numbers."""

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.hawkes import PointProcess

TRUTH = PointProcess.known([4.0, 2.0], [[[0.4, 0.2], [0.0, 0.3]]], [0.1], ["like", "view"])
WINDOWS = pl.DataFrame({"sequence": ["a", "b", "c"], "end": [3.0] * 3})
FRAME = TRUTH.simulate(WINDOWS, seed=1)

WRONG = {
    "1 or more": lambda p, f, w: p.simulate(0, end=1.0),
    "needs an end": lambda p, f, w: p.simulate(3),
    "end: pass a flat list of finite numbers": lambda p, f, w: p.simulate(3, end="x"),
    "end: -1.0 must be one number, not negative": lambda p, f, w: p.simulate(3, end=-1.0),
    "windows: .*: True must be an integer": lambda p, f, w: p.simulate(True, end=1.0),
    "windows: .*: 1.5 must be an integer": lambda p, f, w: p.simulate(1.5, end=1.0),
    "not both": lambda p, f, w: p.simulate(w, end=1.0),
    "reached 3 events": lambda p, f, w: p.simulate(w, max_events=3),
    "max_events: 1.5 must be an integer, 1": lambda p, f, w: p.simulate(w, max_events=1.5),
    "seed: 1.5 must be an integer": lambda p, f, w: p.simulate(w, seed=1.5),
    "seed: 2.5 must be an integer": lambda p, f, w: p.continuations(f, 1.0, seed=2.5),
    "seed: 3.5 must be an integer": lambda p, f, w: p.forecast(f, [1.0], seed=3.5),
    "paths: 1.5 must be an integer, 1 or more": lambda p, f, w: p.continuations(f, 1.0, paths=1.5),
    "paths: 0 must be an integer, 1 or more": lambda p, f, w: p.forecast(f, [1.0], paths=0),
    "lead: -1.0 must be one number, not neg": lambda p, f, w: p.continuations(f, -1.0),
    "lead: pass a flat list of finite numbers": lambda p, f, w: p.continuations(f, "soon"),
    "times: pass a flat list of finite numbers": lambda p, f, w: p.intensity(f, ["noon"]),
    "leads: at least one": lambda p, f, w: p.forecast(f, []),
    "leads: pass a flat list": lambda p, f, w: p.forecast(f, [float("nan")]),
    r"quantiles: \[1.0\] must lie": lambda p, f, w: p.forecast(f, [1.0], None, (1.0,)),
    r"quantiles: .* finite numbers\.": lambda p, f, w: p.forecast(f, 1, None, None),
    "quantiles: pass a flat list": lambda p, f, w: p.forecast(f, [1.0], None, ["a"]),
    "quantiles: .* one column twice": lambda p, f, w: p.forecast(f, [1.0], None, [0.5, 0.1, 0.5]),
    "'events' or 'counts'": lambda p, f, w: p.forecast(f, [1.0], of="likes"),
    "decays must be finite and positive": lambda p, f, w: p.known([1.0], [[0.5]], [0.0], ["a"]),
    "must be \\(K,\\)": lambda p, f, w: p.known([1.0], [[0.5, 1.0]], [1.0], ["a"]),
    "mu must be finite and not negative": lambda p, f, w: p.known([-1.0], [[0.5]], [1.0], ["a"]),
    "known: mu: pass an array": lambda p, f, w: p.known(["x"], [[0.5]], [1.0], ["a"]),
    "known: branching: pass an array": lambda p, f, w: p.known([1.0], [[1], [1, 2]], [1.0], ["a"]),
    "known: decays: pass an array": lambda p, f, w: p.known([1.0], [[0.5]], None, ["a"]),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_questions_get_a_sentence(text):
    with pytest.raises(InputError, match=text) as caught:
        WRONG[text](TRUTH, FRAME, WINDOWS)
    assert str(caught.value).count("\n") == 0


def test_numbers_of_numpy_are_numbers():
    ask = TRUTH.simulate(np.int64(3), end=np.float32(1.0), seed=np.int32(5))
    assert ask.equals(TRUTH.simulate(3, end=1.0, seed=5))
    one = TRUTH.forecast(FRAME, np.float64(1.0), WINDOWS, 0.5, np.int64(9), np.int64(2))
    assert one.equals(TRUTH.forecast(FRAME, [1.0], WINDOWS, [0.5], 9, 2))
    process = PointProcess.known(1.0, [[0.5]], 1.0, np.arange(1))
    assert process.kinds == [0] and type(process.kinds[0]) is int
