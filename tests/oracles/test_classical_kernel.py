"""The compiled likelihood against its definition, its derivatives against differences."""

import numba
import numpy as np
import pytest
import torch

from m3tr.errors import InputError
from m3tr.hawkes import kernels
from m3tr.hawkes.kernels import Sequences, log_likelihood, one_pass, pack, unpack
from m3tr.hawkes.likelihood import log_likelihood as reference
from m3tr.hawkes.simulate import simulate

MU = np.array([0.7, 2.0])
ALPHA = np.array([[[0.05, 0.02], [0.0, 0.1]], [[0.01, 0.0], [0.06, 0.03]]])
DECAYS = [0.02, 1.5]
BETA = 1 / np.array(DECAYS)


def history_at_zero(events):
    """The same events, the first of each sequence moved to time 0."""
    first = events.mask.clone()
    first[:, 1:] = False
    events.time[first] = 0.0
    return events


@pytest.mark.parametrize("marks", ["log", "linear"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("history", [False, True])
def test_total_is_the_double_sum(build, marks, tied, history):
    events = build.events((0, 1, 40, 160, 0), tied=tied)
    if history:
        events = history_at_zero(events)
    truth = 0.0
    for i in range(len(events)):
        on = events.mask[i]
        time, kind, count = (t[i, on].numpy() for t in (events.time, events.kind, events.count))
        weight = np.log2(1 + count) if marks == "log" else count
        logs, area = build.brute_force(time, kind, weight, 3.0, MU, ALPHA, BETA)
        truth += logs[time > 0].sum() - area.sum()
    found = log_likelihood(Sequences.of(events, marks), MU, ALPHA, BETA)
    assert found.total == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("tied", [False, True])
def test_gradient_is_that_of_autograd(build, tied):
    model = build.classical(MU, ALPHA, DECAYS, "log", ["a", "b"])
    events = history_at_zero(build.events((0, 1, 40, 160), tied=tied))
    total = reference(model, events).total.sum()
    d_mu, d_alpha = torch.autograd.grad(total, (model.log_mu, model.alpha))
    found = log_likelihood(Sequences.of(events), MU, ALPHA, BETA)
    assert found.total == pytest.approx(total.item(), rel=1e-12)
    assert np.allclose(found.mu * MU, d_mu, rtol=1e-10)
    assert np.allclose(found.alpha, d_alpha, rtol=1e-10, atol=1e-10)


def test_derivatives_against_differences(build):
    data = Sequences.of(history_at_zero(build.events((0, 3, 40, 90), tied=True)))
    at = log_likelihood(data, MU, ALPHA, BETA)
    h = 1e-5
    for m in range(2):
        move = np.exp(h * np.eye(2)[m])
        up, down = (log_likelihood(data, MU, ALPHA, b).total for b in (BETA * move, BETA / move))
        assert at.log_beta[m] == pytest.approx((up - down) / (2 * h), rel=1e-6)
    theta = pack(MU, ALPHA) + 0.01
    curved = one_pass(data, theta, BETA, hessian=True)
    for p in range(theta.shape[1]):
        move = np.zeros(theta.shape)
        move[:, p] = h
        up, down = (one_pass(data, theta + s * move, BETA).gradient for s in (1, -1))
        assert np.allclose(curved.hessian[:, p], (down - up) / (2 * h), rtol=1e-5, atol=1e-4)


def test_pack_and_its_inverse():
    mu, alpha = unpack(pack(MU, ALPHA), 2)
    assert (mu == MU).all() and (alpha == ALPHA).all()
    assert (pack(MU, ALPHA)[1] == [2.0, 0.0, 0.1, 0.06, 0.03]).all()


def test_sequences_add_up_on_any_number_of_threads():
    paths = [simulate(np.zeros(1), MU[None], ALPHA, np.ones(2), 250.0, seed=i) for i in range(100)]
    sizes = [len(t) for t, _ in paths]
    time, kind = (np.concatenate(parts) for parts in zip(*paths, strict=True))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    data = Sequences(time, kind, np.ones(len(time)), offsets, np.full(100, 250.0))
    assert len(time) > kernels.SMALL
    whole = log_likelihood(data, MU, ALPHA, BETA)
    parts = [log_likelihood(Sequences.single(t, k, 250.0), MU, ALPHA, BETA) for t, k in paths]
    assert whole.total == pytest.approx(sum(p.total for p in parts), rel=1e-12)
    assert np.allclose(whole.alpha, sum(p.alpha for p in parts), rtol=1e-9)
    assert np.allclose(whole.log_beta, sum(p.log_beta for p in parts), rtol=1e-9)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = log_likelihood(data, MU, ALPHA, BETA)
    finally:
        numba.set_num_threads(threads)
    assert alone.total == whole.total and (alone.alpha == whole.alpha).all()


def test_extreme_times_stay_finite():
    """Gaps of a nanosecond and of a million days, under decays from fast to slow."""
    time = np.array([0.0, 1e-14, 1e-9, 1e-9, 1.0, 1e6])
    data = Sequences.single(time, np.array([0, 0, 1, 1, 0, 1]), 2e6)
    found = log_likelihood(data, MU, ALPHA, np.array([1e9, 1e-9]))
    assert all(np.isfinite(part).all() for part in found)
    data = Sequences.single(np.array([1.0, 1e6]), np.array([1, 0]), 2e6)
    silent = log_likelihood(data, np.array([0.0, 1.0]), ALPHA, np.array([1e9, 1.0]))
    assert silent.total == -np.inf  # kind 0 after a million days of silence, without background


def test_nothing_happens():
    empty = Sequences.single(np.empty(0), np.empty(0, dtype=int), 3.0)
    assert log_likelihood(empty, MU, ALPHA, BETA).total == pytest.approx(-3 * MU.sum())
    none = Sequences(np.empty(0), np.empty(0), np.empty(0), np.zeros(1), np.empty(0))
    assert log_likelihood(none, MU, ALPHA, BETA).total == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"time": [0.5, 0.2]}, "event 1 .*out of order"),
        ({"time": [0.5, 1.5]}, "event 1 "),
        ({"time": [np.nan, 0.2]}, "event 0 "),
        ({"weight": [1.0, 0.0]}, "event 1 "),
        ({"kind": [-1, 0]}, "event 0 "),
        ({"offsets": [0, 1]}, "offsets"),
        ({"end": [np.inf]}, "finite"),
        ({"kind": [0]}, "do not match"),
    ],
)
def test_a_bad_sequence_is_one_sentence(change, text):
    good = {"time": [0.2, 0.5], "kind": [0, 1], "weight": [1, 2], "offsets": [0, 2], "end": [1]}
    with pytest.raises(InputError, match=text):
        Sequences(**{name: np.array(v) for name, v in (good | change).items()})


def test_bad_parameters_are_one_sentence():
    data = Sequences.single(np.array([0.5]), np.array([2]), 1.0)
    with pytest.raises(InputError, match="kind 2 of 2 kinds"):
        log_likelihood(data, MU, ALPHA, BETA)
    with pytest.raises(InputError, match="do not match"):
        log_likelihood(data, MU, ALPHA[:1], BETA)
    with pytest.raises(InputError, match="do not match"):
        log_likelihood(data, MU, -ALPHA, BETA)
