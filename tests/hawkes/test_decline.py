"""Power-law declines against quadrature, simulated Poisson processes and changes of unit."""

import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad

from m3tr.hawkes.decline import BEGINS, CORE, EXPONENTS, STEEPEST, STRENGTHS, _integral, decline
from m3tr.hawkes.events import EventBatch, batch

KINDS = ["view", "like"]
SCHEMA = {"sequence": pl.String, "time": pl.Float64, "kind": pl.String, "count": pl.Float64}


def events(
    rows: list[list[tuple[float, str, float]]], ends: list[float], kinds: list[str] = KINDS
) -> EventBatch:
    """One sequence a list of (time, kind, count)."""
    flat = [(str(i), *row) for i, own in enumerate(rows) for row in own]
    frame = pl.DataFrame(flat, schema=SCHEMA, orient="row")
    return batch(frame, [str(i) for i in range(len(rows))], ends, kinds)


def views(times: list[np.ndarray], ends: list[float]) -> EventBatch:
    """Single views at these times, the only kind."""
    return events([[(t, "view", 1.0) for t in own] for own in times], ends, ["view"])


def column(X: np.ndarray, names: list[str], name: str) -> np.ndarray:
    """One column of what `decline` gives."""
    return X[:, names.index(name)]


def mass(start: float, end: float, p: float, core: float) -> float:
    """`int_start^end (u + core)^-p du` by its closed form."""
    lo, hi = start + core, end + core
    return float(np.log(hi / lo)) if p == 1 else (hi ** (1 - p) - lo ** (1 - p)) / (1 - p)


def process(rng: np.random.Generator, level: float, p: float, age: float) -> np.ndarray:
    """Event times in (0, age] of intensity `level (u + c)^-p`, by inversion of its integral."""
    core = CORE * age
    share = rng.random(rng.poisson(level * mass(0, age, p, core)))
    if p == 1:
        times = core * ((age + core) / core) ** share - core
    else:
        lo, hi = core ** (1 - p), (age + core) ** (1 - p)
        times = (lo + share * (hi - lo)) ** (1 / (1 - p)) - core
    return np.sort(np.clip(times, 1e-12 * age, age))


@pytest.mark.parametrize(
    "p", [0.0, 1.0, 2.0, -1.0, 4.0, 0.37, 1 - 1e-5, 1 + 1e-8, 1 - 1e-10, 1 + 1e-12]
)
@pytest.mark.parametrize(("start", "end", "core"), [(0, 1, 0.01), (0.9, 1, 0.01), (3, 90, 0.07)])
def test_the_integral_against_quadrature(p, start, end, core):
    got = _integral(np.array([start]), np.array([end]), p, np.array([core]))[0]
    expected = quad(lambda u: (u + core) ** -p, start, end, epsabs=0, epsrel=1e-12, limit=200)[0]
    assert got == pytest.approx(expected, rel=1e-8)
    by_row = _integral(np.array([start]), np.array([end]), np.array([p]), np.array([core]))
    assert by_row[0] == pytest.approx(expected, rel=1e-8)


def test_expected_increments_by_hand():
    """Seven views and three likes; the windows begin at the last view before a share of the age."""
    views_at = [(1.0, 2), (3.0, 1), (6.5, 1), (8.0, 3)]
    own = [(t, "view", float(c)) for t, c in views_at] + [(2.0, "like", 3.0)]
    a, H = 8.0, 20.0
    X, names = decline(events([own], [a]), KINDS, np.array([H]))
    begins = {0: 0.0, 1 / 2: 3.0, 3 / 4: 3.0, 7 / 8: 6.5, 15 / 16: 6.5, 31 / 32: 6.5}
    for share in BEGINS:
        s = begins[share]
        n = sum(c for t, c in views_at if t > s)
        for p in EXPONENTS:
            expected = n * mass(a, H, p, CORE * a) / mass(s, a, p, CORE * a)
            got = column(X, names, f"log_decline_{p:g}_from_{share:g}[view]")[0]
            assert got == pytest.approx(np.log2(1 + expected), rel=1e-9)
    like = 3 * mass(a, H, 1, CORE * a) / mass(0, a, 1, CORE * a)
    got = column(X, names, "log_decline_1_from_0[like]")[0]
    assert got == pytest.approx(np.log2(1 + like), rel=1e-9)
    # none came after the one like
    assert column(X, names, "log_decline_1_from_0.5[like]")[0] == 0


@pytest.mark.parametrize(("p", "level"), [(0.0, 40.0), (1.0, 9.0), (2.0, 0.5)])
def test_the_forecast_is_unbiased_for_a_poisson_process(p, level):
    rng = np.random.default_rng(int(10 * p))
    a, H, B = 1.0, 5.0, 1500
    X, names = decline(
        views([process(rng, level, p, a) for _ in range(B)], [a] * B), ["view"], np.full(B, H)
    )
    forecast = np.exp2(column(X, names, f"log_decline_{p:g}_from_0[view]")) - 1
    outcome = rng.poisson(level * mass(a, H, p, CORE * a), B)
    error = np.hypot(forecast.std(), outcome.std()) / np.sqrt(B)
    assert abs(forecast.mean() - outcome.mean()) < 4 * error
    for other in set(EXPONENTS) - {p}:  # a wrong exponent is not
        wrong = np.exp2(column(X, names, f"log_decline_{other:g}_from_0[view]")) - 1
        assert abs(wrong.mean() - outcome.mean()) > 4 * error


def test_late_windows_are_unbiased_where_events_are_dense():
    rng = np.random.default_rng(4)
    a, H, B, level = 1.0, 3.0, 40, 4000.0
    X, names = decline(
        views([process(rng, level, 1.0, a) for _ in range(B)], [a] * B), ["view"], np.full(B, H)
    )
    truth = level * mass(a, H, 1.0, CORE * a)
    for share in BEGINS[1:]:
        forecast = np.exp2(column(X, names, f"log_decline_1_from_{share:g}[view]")) - 1
        assert abs(forecast.mean() / truth - 1) < 5 * forecast.std() / truth / np.sqrt(B) + 0.01


def own_exponents(p: float, level: float, rng: np.random.Generator, B: int = 8) -> np.ndarray:
    """Mean own exponent by strength of the draw, of B simulated processes."""
    X, names = decline(
        views([process(rng, level, p, 1.0) for _ in range(B)], [1.0] * B), ["view"], np.full(B, 4.0)
    )
    return np.array([column(X, names, f"exponent_{s:g}[view]").mean() for s in STRENGTHS])


def test_the_own_exponent_of_many_counts_is_that_of_the_process():
    """A steady rate has exponent 0; steeper processes have larger ones, within the bounds."""
    rng = np.random.default_rng(1)
    steady = own_exponents(0.0, 20_000.0, rng)
    assert np.abs(steady[:2]).max() < 0.05
    assert steady[2] < 0.2
    found = [steady[1], *(own_exponents(p, 2000.0, rng)[1] for p in (0.5, 1.0, 1.5))]
    assert (np.diff(found) > 0.3).all()
    assert STEEPEST[0] <= min(found) and max(found) <= STEEPEST[1]


def test_a_steady_rate_goes_on():
    rng = np.random.default_rng(2)
    X, names = decline(
        views([process(rng, 20_000.0, 0.0, 1.0) for _ in range(4)], [1.0] * 4),
        ["view"],
        np.full(4, 3.0),
    )
    forecast = np.exp2(column(X, names, f"log_decline_own_{STRENGTHS[0]:g}[view]")) - 1
    assert np.allclose(forecast, 40_000, rtol=0.05)


def test_the_own_exponent_is_exact_where_the_rate_falls_as_one_over_age():
    own = own_exponents(1.0, 2000.0, np.random.default_rng(1))
    assert np.abs(own - 1).max() < 0.1


def test_few_counts_are_drawn_to_one():
    """The stronger the draw the nearer; without counts it is all there is."""
    for seed in range(5):
        few, many = (
            np.abs(own_exponents(0.0, count, np.random.default_rng(seed), B=40) - 1)
            for count in (6.0, 2000.0)
        )
        assert (np.diff(few) < 0).all() and few[-1] < 0.5 * many[-1]
    X, names = decline(events([[], [(2.0, "like", 1.0)]], [5.0, 5.0]), KINDS, np.full(2, 9.0))
    for strength in STRENGTHS:
        assert np.allclose(column(X, names, f"exponent_{strength:g}[view]"), 1)


def test_without_events_nothing_is_expected():
    """But for half a view of the own level, which is not certain that there are none."""
    X, names = decline(events([[], []], [4.0, 0.5]), KINDS, np.array([9.0, 2.0]))
    for name in names:
        if "_from_" in name:
            assert (column(X, names, name) == 0).all(), name
        if "own" in name:
            assert (column(X, names, name) < np.log2(1.5)).all(), name
    assert np.isfinite(X).all()


def test_the_unit_of_time_does_not_matter():
    rng = np.random.default_rng(3)
    rows = [
        [(float(t), str(rng.choice(KINDS)), float(rng.integers(1, 9))) for t in rng.random(n) * 7]
        for n in (0, 1, 5, 60)
    ]
    ends, horizons = [7.0, 7.5, 8.0, 9.0], np.array([8.0, 20.0, 90.0, 9.5])
    X, names = decline(events(rows, ends), KINDS, horizons)
    assert np.ptp(X[3]) > 1
    for unit in (24.0, 86_400.0, 1 / 365):
        other = [[(t * unit, kind, c) for t, kind, c in row] for row in rows]
        Y, same = decline(events(other, [e * unit for e in ends]), KINDS, horizons * unit)
        assert same == names and np.allclose(X, Y, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("every", [1.0, 0.25])
def test_a_counter_is_read_like_the_log_it_sums_up(every):
    """Of views once an hour, a counter's rows tell the same where windows begin at a row."""
    hours = np.arange(1, 161) / 20  # at 0.05, 0.10, ..., 8
    readings = np.arange(every, 8 + 1e-9, every)
    n = np.diff(np.searchsorted(hours, readings + 1e-9), prepend=0)
    log = events([[(float(t), "view", 1.0) for t in hours]], [8.0], ["view"])
    counter = [(float(t), "view", float(c)) for t, c in zip(readings, n, strict=True)]
    H = np.array([30.0])
    X, names = decline(log, ["view"], H)
    Y, _ = decline(events([counter], [8.0], ["view"]), ["view"], H)
    for share in BEGINS:
        begin = readings[readings <= share * 8 + 1e-9].max(initial=0.0)
        since = n[readings > begin].sum()
        for p in EXPONENTS:
            name = f"log_decline_{p:g}_from_{share:g}[view]"
            expected = since * mass(8, 30, p, 0.08) / mass(begin, 8, p, 0.08)
            assert column(Y, names, name)[0] == pytest.approx(np.log2(1 + expected), rel=1e-9)
            if np.isclose(begin, share * 8):
                assert column(X, names, name) == pytest.approx(column(Y, names, name), rel=1e-9)
    # a steady counter is steady at any rate of reading, not a burst at each row
    steady = [column(Z, names, "log_decline_0_from_0.96875[view]")[0] for Z in (X, Y)]
    assert steady == pytest.approx([np.log2(1 + 20 * 22)] * 2, abs=1e-6)


def test_rows_in_any_order_and_padding_do_not_matter():
    rng = np.random.default_rng(5)
    rows = [[(float(t), "view", 2.0) for t in rng.random(n) * 4] for n in (3, 40, 0)]
    H = np.array([9.0, 7.0, 6.0])
    together, _ = decline(events(rows, [4.0] * 3), KINDS, H)
    for i, own in enumerate(rows):
        alone, _ = decline(events([own[::-1]], [4.0]), KINDS, H[[i]])
        assert np.allclose(alone[0], together[i], rtol=1e-12)


def test_history_before_the_window_is_none_of_it():
    one = [(1.0, "view", 4.0)]
    X, _ = decline(events([one, [(0.0, "view", 1e6), *one]], [3.0, 3.0]), KINDS, np.full(2, 9.0))
    assert np.array_equal(X[0], X[1])


def test_no_age_and_no_lead():
    """At age 0 all is zero; a horizon that is over, or now, expects nothing more."""
    own = [(1.0, "view", 3.0), (2.5, "view", 1.0), (2.0, "like", 1.0)]
    X, names = decline(
        events([[], own, own, own], [0.0, 3.0, 3.0, 3.0]), KINDS, np.array([5.0, 3.0, 1.0, 4.0])
    )
    assert np.isfinite(X).all() and (X[0] == 0).all()
    expected = [i for i, name in enumerate(names) if name.startswith("log_decline")]
    assert np.allclose(X[1:3][:, expected], 0, atol=1e-9)
    assert (X[3][expected] > 0).any()


def test_of_no_sequences_there_are_no_rows():
    X, names = decline(events([], []), KINDS, np.zeros(0))
    assert X.shape == (0, len(names))


def test_other_kinds_get_the_short_set():
    X, names = decline(events([[(1.0, "view", 1.0)]], [2.0]), [*KINDS, "share"], np.array([4.0]))
    assert X.shape == (1, len(names)) and len(set(names)) == len(names)
    by_kind = {k: [n for n in names if n.endswith(f"[{k}]")] for k in (*KINDS, "share")}
    assert len(by_kind["view"]) == len(BEGINS) * len(EXPONENTS) + 2 * len(STRENGTHS)
    assert len(by_kind["like"]) == len(by_kind["share"]) == len(BEGINS) + 2
    assert names == [n for own in by_kind.values() for n in own]
