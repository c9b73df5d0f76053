"""The row Hawkes against simulation and brute force."""

import numpy as np
import pytest

from m3tr.baselines.hawkes import Hawkes, _memory
from m3tr.baselines.mean import Mean
from m3tr.hawkes.simulate import simulate, simulate_counts

BRANCHING, BETA, AGE, LEAD = 0.6, 4.0, 4.0, 4.0


def simulated(make, n, seed, age=AGE):
    """Videos with immigration of their own, seen until `age` and forecast for four days more."""
    rng = np.random.default_rng(seed)
    alpha = np.full((1, 1, 1), BRANCHING * BETA)
    paths = []
    for i in range(n):
        mu = np.array([[rng.uniform(1, 12)]])
        times, _ = simulate(
            np.zeros(1), mu, alpha, np.array([BETA]), age + LEAD, int(1000 * seed + i)
        )
        paths.append(times)
    increment = np.log2(1 + np.array([[np.sum(t > age)] for t in paths]))
    nothing = np.zeros((n, 1))
    seen = [t[t <= age] for t in paths]
    return make(increment, nothing, nothing, events=seen, age=age, lead=LEAD)


def test_memory_equals_the_double_sum():
    rng = np.random.default_rng(0)
    sequence = np.repeat([0, 1, 2], [20, 1, 15])
    time = np.concatenate([np.sort(rng.uniform(0, 5, k)) for k in (20, 1, 15)])
    time[5] = time[4]  # rows that share a time do not excite one another
    count = rng.integers(1, 9, 36).astype(float)
    naive = [
        sum(
            count[j] * np.exp(-1.7 * (time[i] - time[j]))
            for j in range(36)
            if sequence[j] == sequence[i] and time[j] < time[i]
        )
        for i in range(36)
    ]
    assert _memory(sequence, time, count, 1.7) == pytest.approx(naive)


def test_recovers_the_branching_ratio_and_the_decay(make):
    row = Hawkes()
    # a long window: with immigration of its own for each video, a short one biases n downwards
    data = simulated(make, 40, 1, age=60.0)
    row.fit(data, data, "increment")
    assert row.branching == pytest.approx(BRANCHING, abs=0.05)
    assert row.beta == pytest.approx(BETA, rel=0.2)


def test_expected_count_is_the_mean_of_simulated_continuations(make):
    data = simulated(make, 40, 2)
    row = Hawkes().fit(data, data, "increment")
    row.branching, row.beta = BRANCHING, BETA
    events = data.observed.filter(data.observed["video_id"] == "v0000")["age_days"].to_numpy()
    expected = row.expected(data)[0, 0]
    # the same mu as the forecast uses, read back from its long-run growth
    far = make(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), events=[events], age=AGE,
               lead=1e6)  # fmt: skip
    mu = row.expected(far)[0, 0] / 1e6 * (1 - BRANCHING)
    history = (events, np.zeros(len(events), int), np.ones(len(events)))
    counts = simulate_counts(
        np.zeros(1), np.array([[mu]]), np.full((1, 1, 1), BRANCHING * BETA), np.array([BETA]),
        AGE + LEAD, 5, 20_000, history, AGE,
    )  # fmt: skip
    error = counts.std() / np.sqrt(len(counts))
    assert abs(counts.mean() - expected) < 5 * error


def test_closer_to_the_truth_than_the_mean(make):
    train, test = simulated(make, 200, 3), simulated(make, 200, 4)
    for label in ("increment", "total"):
        y = test.y(label)
        hawkes = Hawkes().fit(train, train, label).predict(test)
        mean = Mean().fit(train, train, label).predict(test)
        assert np.mean((hawkes - y) ** 2) < 0.6 * np.mean((mean - y) ** 2)


def test_videos_without_feedback_get_a_finite_forecast(make):
    y = np.full((5, 1), 3.0)
    nothing = np.zeros((5, 1))
    data = make(y, nothing, nothing)
    assert Hawkes().fit(data, data, "increment").predict(data) == pytest.approx(y)
