"""Clause 1 and the labels, against a pure-Python reference on small random worlds."""

import math
import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3tr.data.settings import TaskSettings
from m3tr.data.windows import make_examples, observed
from m3tr.errors import InputError

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KINDS = ("view", "like")
OBSERVATION = ["video_id", "published_at", "observed_at", "age_days", "n_events", "observed"]

# whole hours, so that rows fall exactly on publication, clock and horizon very often
rows = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 30), st.sampled_from(KINDS), st.integers(1, 9)),
    min_size=1,
    max_size=60,
)
publications = st.lists(st.integers(0, 12), min_size=8, max_size=8)
clocks = st.one_of(
    st.fixed_dictionaries({"age": st.sampled_from(["0h", "2h", "5h"])}),
    st.fixed_dictionaries({"until": st.sampled_from([START + 4 * HOUR, START + 9 * HOUR])}),
)


def world(hours, events):
    """Eight videos; each event lies a whole number of hours after its video's publication."""
    ids = [f"v{i}" for i in range(8)]
    videos = pl.DataFrame({"video_id": ids, "published_at": [START + h * HOUR for h in hours]})
    table = [(ids[v], START + (hours[v] + s) * HOUR, kind, n) for v, s, kind, n in events]
    # every task finds its target, and the end of the data is far
    table.append((ids[0], START + 500 * HOUR, "view", 1))
    feedback = pl.DataFrame(
        table, schema=["video_id", "time", "kind", "count"], orient="row"
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    return videos.with_columns(pl.col("published_at").cast(pl.Datetime("us", "UTC"))), feedback


def make_task(clock, **changes):
    split = {"split": "random"} if "until" in clock else {"split": "temporal", "embargo": False}
    base = {"observe": clock, "horizons": ["6h", "8h", "1d"], "fractions": (0.34, 0.33, 0.33)}
    return TaskSettings(**(base | split | changes))


def build(videos, feedback, task):
    """Examples, or None where the world is too small for three splits."""
    try:
        return make_examples(videos, feedback, task)[0]
    except InputError:
        return None


def reference(videos, feedback, task):
    """The definition, row by row."""
    out = {}
    for video_id, published in videos.select("video_id", "published_at").iter_rows():
        tau = task.observe.until or published + task.observe.age
        start = tau if task.observe.until else published
        if published > tau:
            continue
        mine = feedback.filter(pl.col("video_id") == video_id).rows()
        target = [(t, n) for _, t, kind, n in mine if kind == task.target]
        ends = [start + h for h in task.horizons]

        def number(low, high, target=target):
            return sum(n for t, n in target if low < t <= high)

        out[video_id] = {
            "observed_at": tau,
            "age_days": (tau - published).total_seconds() / 86_400,
            "known_at": ends[-1],
            "n_events": sum(t <= tau for _, t, _, _ in mine),
            "observed": number(published, tau),
            "horizon_days": [(e - published).total_seconds() / 86_400 for e in ends],
            "increment": [math.log2(1 + number(tau, e)) for e in ends],
            "total": [math.log2(1 + number(published, e)) for e in ends],
        }
    return out


@settings(max_examples=60, deadline=None)
@given(publications, rows, clocks)
def test_examples_agree_with_the_definition(hours, events, clock):
    videos, feedback = world(hours, events)
    task = make_task(clock)
    examples = build(videos, feedback, task)
    if examples is None:
        return
    expected = reference(videos, feedback, task)
    assert set(examples["video_id"]) == set(expected)
    for row in examples.iter_rows(named=True):
        for name, value in expected[row["video_id"]].items():
            if isinstance(value, datetime):
                assert row[name] == value
            else:
                assert row[name] == pytest.approx(value, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(publications, rows, clocks)
def test_observed_is_every_row_up_to_the_clock_and_no_other(hours, events, clock):
    videos, feedback = world(hours, events)
    examples = build(videos, feedback, make_task(clock))
    if examples is None:
        return
    tau = dict(examples.select("video_id", "observed_at").iter_rows())
    expected = sorted(r for r in feedback.rows() if r[0] in tau and r[1] <= tau[r[0]])
    seen = observed(feedback, examples)
    assert seen.select("video_id", "time", "kind", "count").rows() == expected
    published = dict(videos.iter_rows())
    for video_id, time, age in seen.select("video_id", "time", "age_days").iter_rows():
        assert age == pytest.approx((time - published[video_id]).total_seconds() / 86_400)


@settings(max_examples=80, deadline=None)
@given(publications, rows, clocks, st.randoms(use_true_random=False))
def test_no_later_row_changes_what_is_observed(hours, events, clock, rng):
    """Clause 1: later rows are dropped, moved, renamed, inflated and added."""
    videos, feedback = world(hours, events)
    task = make_task(clock, observed_until=START + 500 * HOUR)
    before = build(videos, feedback, task)
    if before is None:
        return
    tau = {
        v: task.observe.until or p + task.observe.age
        for v, p in videos.select("video_id", "published_at").iter_rows()
    }
    changed = [("v0", START + 400 * HOUR, "view", 5)]
    for video_id, time, kind, count in feedback.rows():
        if time <= tau[video_id]:
            changed.append((video_id, time, kind, count))
            continue
        fate = rng.randrange(4)
        if fate == 1:
            later = tau[video_id] + timedelta(microseconds=rng.randrange(1, 10**10))
            changed.append((video_id, later, kind, count))
        elif fate == 2:
            changed.append((video_id, time, rng.choice(["view", "like", "new"]), count + 1000))
        elif fate == 3:
            changed += [(video_id, time, kind, count)] * 3
    rng.shuffle(changed)
    other = pl.DataFrame(changed, schema=feedback.schema, orient="row")
    after = build(videos, other, task)
    assert after is not None
    keep = [*OBSERVATION, "split", "known_at", "horizon_days"]
    assert after.select(keep).equals(before.select(keep))
    assert observed(other, after).equals(observed(feedback, before))


def test_the_boundaries_are_exact():
    """A row at the clock is observed, one microsecond later is not; the horizon is included."""
    tick = timedelta(microseconds=1)
    published = START + timedelta(seconds=1, microseconds=333_333)
    tau, end = published + timedelta(days=1), published + timedelta(days=3)
    times = [published, published + tick, tau, tau + tick, end, end + tick]
    counts = [1, 10, 100, 1_000, 10_000, 100_000]
    ids = [f"v{i}" for i in range(10)]
    videos = pl.DataFrame({"video_id": ids, "published_at": [published] * 10})
    table = [(i, t, "view", n) for i in ids for t, n in zip(times, counts, strict=True)]
    feedback = pl.DataFrame(table, schema=["video_id", "time", "kind", "count"], orient="row")
    cast = pl.col(pl.Datetime).cast(pl.Datetime("us", "UTC"))
    task = make_task({"age": "1d"}, horizons=["3d"])
    examples, _ = make_examples(videos.with_columns(cast), feedback.with_columns(cast), task)
    row = examples.row(0, named=True)
    assert row["observed"] == 110
    assert row["n_events"] == 3
    assert row["increment"] == [pytest.approx(math.log2(1 + 11_000))]
    assert row["total"] == [pytest.approx(math.log2(1 + 11_110))]


def test_row_order_changes_nothing():
    rng = random.Random(3)
    hours = [rng.randrange(12) for _ in range(8)]
    events = [
        (rng.randrange(8), rng.randrange(20), rng.choice(KINDS), rng.randrange(1, 5))
        for _ in range(300)
    ]
    videos, feedback = world(hours, events)
    for clock in ({"age": "2h"}, {"until": START + 12 * HOUR}):
        task = make_task(clock)
        examples, report = make_examples(videos, feedback, task)
        other, other_report = make_examples(
            videos.sample(fraction=1, shuffle=True, seed=1),
            feedback.sample(fraction=1, shuffle=True, seed=2),
            task,
        )
        assert other.equals(examples) and other_report == report
        shuffled = feedback.sample(fraction=1, shuffle=True, seed=5)
        assert observed(shuffled, other).equals(observed(feedback, examples))


def test_what_is_left_out_is_counted():
    videos, feedback = world([0, 1, 2, 3, 4, 5, 6, 12], [(0, 1, "view", 1)])
    clock = {"until": START + 5 * HOUR}
    _, report = make_examples(videos, feedback, make_task(clock))
    assert report["left_out_published_after_clock"] == 2
    task = make_task({"age": "1h"}, observed_until=START + 27 * HOUR)
    examples, report = make_examples(videos, feedback, task)
    assert report["left_out_censored"] == 4  # published at hour 4 and later
    assert examples.height == 4
    assert report["unseen_at_observation"] == 3


def test_the_end_of_the_data_is_its_last_row():
    """A horizon that ends exactly there is known, one that ends later is not."""
    videos, feedback = world([0, 1, 2, 3, 4, 5, 6, 7], [(v, 1, "view", 1) for v in range(8)])
    feedback = feedback.filter(pl.col("time") < START + 400 * HOUR)
    last = pl.DataFrame(
        [("v0", START + 28 * HOUR, "like", 1)], schema=feedback.schema, orient="row"
    )
    examples, report = make_examples(
        videos, pl.concat([feedback, last]), make_task({"age": "2h"}, horizons=["1d"])
    )
    assert examples["known_at"].max() == START + 28 * HOUR
    assert report["left_out_censored"] == 3


def test_min_events_counts_rows_of_any_kind_up_to_the_clock():
    events = [(v, s, "like", 50) for v in range(8) for s in range(v)]
    videos, feedback = world([0] * 8, events)
    examples, report = make_examples(videos, feedback, make_task({"age": "3h"}, min_events=4))
    assert examples["video_id"].to_list() == ["v4", "v5", "v6", "v7"]
    assert examples["n_events"].to_list() == [4, 4, 4, 4]
    assert report["left_out_too_few_events"] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "share"}, "'share'.*like, view"),
        ({"split": "temporal"}, "split: random"),
        ({"min_events": 99}, "no video is left"),
    ],
)
def test_a_task_that_cannot_be_done_is_refused(changes, words):
    videos, feedback = world([0] * 8, [(0, 1, "like", 1)])
    task = make_task({"until": START + 3 * HOUR}, **changes)
    with pytest.raises(InputError, match=words):
        make_examples(videos, feedback, task)
