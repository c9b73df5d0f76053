"""The blend finds weights that are there, and stays near equal ones where it cannot know."""

import numpy as np
import pytest
from scipy.optimize import minimize

from m3tr.model.blend import PRIOR_VIDEOS, Blend

H = 3


def problem(n, weights, noise=0.5, seed=0):
    """Corrections by some heads, and residuals that are their mix by these weights."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, 1 + p, (n, H)) for p in range(len(weights))]
    residual = sum(w * part for w, part in zip(weights, parts, strict=True))
    return parts, residual + noise * rng.normal(size=(n, H))


def weights_of(parts, residual):
    return Blend().fit(parts, residual).arrays["weights"]


@pytest.mark.parametrize("truth", [(0.7, 0.1, 0.4), (1.0, 0.0, 0.0), (0.2, 0.9)])
def test_known_weights_are_found_in_many_videos(truth):
    assert np.allclose(weights_of(*problem(200 * PRIOR_VIDEOS, truth)), truth, atol=0.02)


def test_few_videos_do_not_overrule_equal_weights():
    truth = np.array([1.0, 0.0, 0.0])
    sizes = (2, PRIOR_VIDEOS // 10, PRIOR_VIDEOS, 70 * PRIOR_VIDEOS)
    away = [np.abs(weights_of(*problem(n, truth, 0.0)) - 1 / 3).max() for n in sizes]
    assert away[0] < 0.05
    assert (np.diff(away) > 0).all() and away[-1] > 0.6


def test_as_many_videos_as_the_prior_is_worth_meet_it_half_way():
    """One head whose truth is 0 but is equal to 1 by the prior: halved."""
    (part,), _ = problem(PRIOR_VIDEOS, (0.0,))
    assert weights_of([part], np.zeros_like(part)) == pytest.approx([0.5])


def test_it_minimises_what_it_says():
    parts, residual = problem(40, (1.2, 0.0, 0.5), 2.0, seed=2)
    Z = np.column_stack([p.ravel() for p in parts])
    strength = PRIOR_VIDEOS * np.mean([(p**2).sum(1).mean() for p in parts])

    def loss(w):
        return ((residual.ravel() - Z @ w) ** 2).sum() + strength * ((w - 1 / 3) ** 2).sum()

    best = minimize(loss, np.full(3, 1 / 3), bounds=[(0, None)] * 3, options={"ftol": 1e-14})
    assert np.allclose(weights_of(parts, residual), best.x, atol=1e-4)


def test_weights_are_never_negative():
    parts, residual = problem(17 * PRIOR_VIDEOS, (-1.5, 0.8))
    found = weights_of(parts, residual)
    assert found[0] == 0 and found[1] > 0.7
    assert np.array_equal(weights_of(parts, -sum(parts)), [0, 0])


def test_a_head_of_noise_gets_little():
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(7 * PRIOR_VIDEOS, H))
    residual = signal + 0.5 * rng.normal(size=(7 * PRIOR_VIDEOS, H))
    found = weights_of([signal, 2 * rng.normal(size=(7 * PRIOR_VIDEOS, H))], residual)
    assert found[0] > 0.75 and found[1] < 0.1


def test_heads_that_correct_nothing_are_no_trouble():
    nothing = np.zeros((30, H))
    blend = Blend().fit([nothing, nothing], np.ones((30, H)))
    assert np.isfinite(blend.arrays["weights"]).all()
    assert np.array_equal(blend([nothing, nothing]), nothing)


def test_a_copy_of_a_head_shares_its_weight():
    (part,), residual = problem(10 * PRIOR_VIDEOS, (0.8,))
    found = weights_of([part, part.copy()], residual)
    assert found == pytest.approx([found[0]] * 2, abs=1e-6)
    assert found.sum() == pytest.approx(0.8, abs=0.05)


def test_the_blend_is_the_weighted_sum_and_is_its_arrays():
    parts, residual = problem(50, (0.6, 0.2))
    blend = Blend().fit(parts, residual)
    again = Blend.from_arrays({name: a.copy() for name, a in blend.arrays.items()})
    w = blend.arrays["weights"]
    assert np.allclose(blend(parts), w[0] * parts[0] + w[1] * parts[1])
    assert np.array_equal(again(parts), blend(parts))
    assert blend(parts).shape == (50, H)
