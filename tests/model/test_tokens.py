"""Tokens: scaled by the training split, masked where absent."""

import numpy as np
import pytest

from m3tr.features.store import Features
from m3tr.model.tokens import CLIP, COMPONENTS, Tokeniser


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    n = 40
    tokens = {
        "visual": rng.normal(3, 2, (n, 4, 5)).astype("f4"),
        "text": rng.normal(size=(n, 2, 3)).astype("f4"),
    }
    mask = {m: rng.random(a.shape[:2]) < 0.7 for m, a in tokens.items()}
    tokens = {m: np.where(mask[m][:, :, None], a, 0) for m, a in tokens.items()}
    features = Features([f"v{i}" for i in range(n)], tokens, mask)
    return features, rng.normal(5, 9, (n, 4)), rng.normal(size=(n, 6))


def test_scales_come_from_the_tokens_that_are_present(world):
    features, metadata, temporal = world
    got = Tokeniser().fit(features, metadata, temporal).tokens(features, metadata, temporal)
    assert list(got.x) == ["visual", "text", "metadata", "temporal"]
    for m in ("visual", "text"):
        rows = got.x[m][got.mask[m]]  # (present, components), uncorrelated
        assert np.allclose(np.cov(rows.T, ddof=0), np.eye(rows.shape[1]), atol=1e-4)
        assert np.allclose(rows.mean(0), 0, atol=1e-5)
        assert (got.x[m][~got.mask[m]] == 0).all()
        assert np.array_equal(got.mask[m], features.mask[m])
    for m, values in (("metadata", metadata), ("temporal", temporal)):
        assert got.x[m].shape == (40, 1, values.shape[1]) and got.mask[m].all()
        assert np.allclose(got.x[m][:, 0].mean(0), 0, atol=1e-5)
    assert all(a.dtype == np.float32 for a in got.x.values())


def test_a_modality_that_the_query_lacks_is_masked(world):
    features, metadata, temporal = world
    tokeniser = Tokeniser().fit(features, metadata, temporal)
    blind = Features(
        features.ids, {"text": features.tokens["text"]}, {"text": features.mask["text"]}
    )
    got = tokeniser.tokens(blind, metadata, temporal)
    assert not got.mask["visual"].any() and got.x["visual"].shape == (40, 1, 5)
    whole = tokeniser.tokens(features, metadata, temporal)
    assert np.array_equal(got.x["text"], whole.x["text"])


def test_a_modality_absent_in_training_is_ignored(world):
    features, metadata, temporal = world
    nobody = features.mask | {"visual": np.zeros_like(features.mask["visual"])}
    tokeniser = Tokeniser().fit(Features(features.ids, features.tokens, nobody), metadata, temporal)
    assert "visual" not in tokeniser.tokens(features, metadata, temporal).x


def test_transforming_fits_nothing(world):
    features, metadata, temporal = world
    tokeniser = Tokeniser().fit(features, metadata, temporal)
    before = {name: a.copy() for name, a in tokeniser.arrays.items()}
    far = tokeniser.tokens(features, 1e6 * metadata, temporal)
    assert np.abs(far.x["metadata"]).max() == CLIP
    assert all(np.array_equal(a, before[name]) for name, a in tokeniser.arrays.items())
    again = Tokeniser.from_arrays(tokeniser.arrays).tokens(features, metadata, temporal)
    assert np.array_equal(
        again.x["visual"], tokeniser.tokens(features, metadata, temporal).x["visual"]
    )


def test_only_the_leading_components_are_kept():
    """Many dimensions, three of which vary much: those three span the first components."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    spread = np.r_[[30.0, 20.0, 10.0], np.full(37, 0.1)]
    x = (rng.normal(size=(200, 1, 40)) * spread @ axes.T).astype("f4")
    features = Features(
        [str(i) for i in range(200)], {"text": x}, {"text": np.ones((200, 1), bool)}
    )
    nothing = np.zeros((200, 1))
    got = Tokeniser().fit(features, nothing, nothing).tokens(features, nothing, nothing)
    assert got.x["text"].shape == (200, 1, COMPONENTS)
    truth = x[:, 0] @ axes[:, :3]
    correlation = np.corrcoef(got.x["text"][:, 0, :3].T, truth.T)[:3, 3:]
    assert (np.abs(np.diag(correlation)) > 0.95).all()


def test_the_label_summary_is_scaled_by_training_too(world):
    rng = np.random.default_rng(2)
    summary = rng.normal(4, 3, (50, 6)).astype("f4")
    tokeniser = Tokeniser().fit(*world)
    tokeniser.fit_summary(summary)
    got = tokeniser.scale_summary(summary)
    assert got.dtype == np.float32
    assert np.allclose(got.mean(0), 0, atol=1e-5) and np.allclose(got.std(0), 1, atol=1e-4)
    assert "summary" not in tokeniser.tokens(*world).x
