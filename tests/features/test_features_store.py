"""The Features container."""

from pathlib import Path

import numpy as np
import pytest

from m3tr.errors import InputError
from m3tr.features.store import Features


@pytest.fixture
def features() -> Features:
    rng = np.random.default_rng(0)
    mask = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    tokens = rng.normal(size=(3, 3, 4)).astype(np.float32)
    text = rng.normal(size=(3, 2, 5)).astype(np.float32)
    return Features(
        ["a", "b", "c"],
        {"visual": tokens * mask[..., None], "text": text},
        {"visual": mask, "text": np.ones((3, 2), bool)},
    )


def same(a: Features, b: Features) -> bool:
    return a.ids == b.ids and list(a.tokens) == list(b.tokens) and all(
        np.array_equal(a.tokens[m], b.tokens[m]) and np.array_equal(a.mask[m], b.mask[m])
        for m in a.tokens
    )  # fmt: skip


def test_save_and_load(features: Features, tmp_path: Path) -> None:
    features.save(tmp_path / "x")
    assert same(Features.load(tmp_path / "x"), Features.load(tmp_path / "x"))
    loaded = Features.load(tmp_path / "x")
    assert loaded.ids == features.ids and loaded.mask["visual"].dtype == bool
    np.testing.assert_array_equal(loaded.tokens["visual"], features.tokens["visual"])
    first = (tmp_path / "x" / "part-00000.parquet").read_bytes()
    features.save(tmp_path / "x")
    assert (tmp_path / "x" / "part-00000.parquet").read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "manifest.json", "part-00000.parquet"]  # fmt: skip


def test_load_says_what_is_wrong(features: Features, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the features stage"):
        Features.load(tmp_path)
    features.save(tmp_path)
    file = tmp_path / "part-00000.parquet"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="run the features stage"):
        Features.load(tmp_path)


def test_select_orders_repeats_and_refuses(features: Features) -> None:
    picked = features.select(["c", "a", "c"])
    np.testing.assert_array_equal(picked.tokens["text"], features.tokens["text"][[2, 0, 2]])
    assert picked.ids == ["c", "a", "c"] and len(features.select([])) == 0
    with pytest.raises(InputError, match="'z'"):
        features.select(["a", "z"])


def test_pooled_is_the_masked_mean_of_unit_length(features: Features) -> None:
    pooled = features.pooled("visual")
    mean = features.tokens["visual"][0, :2].mean(0)
    np.testing.assert_allclose(pooled[0], mean / np.linalg.norm(mean), rtol=1e-5)
    assert (pooled[1] == 0).all()
    assert features.present("visual").tolist() == [True, False, True]
    assert features.pooled("audio").shape == (3, 0) and not features.present("audio").any()


def test_padding_never_changes_the_pooled_vector(features: Features) -> None:
    wide = features.aligned({"visual": (6, 4), "audio": (2, 7), "text": (2, 5)})
    np.testing.assert_array_equal(wide.pooled("visual"), features.pooled("visual"))
    assert wide.tokens["audio"].shape == (3, 2, 7) and not wide.mask["audio"].any()
    with pytest.raises(InputError, match="expected at most"):
        features.aligned({"visual": (3, 5)})


def test_concat(features: Features) -> None:
    one, two = features.select(["a"]), features.aligned({"visual": (5, 4)}).select(["b", "c"])
    both = Features.concat([one, two])
    assert both.ids == ["a", "b", "c"] and both.shapes == {"visual": (5, 4), "text": (2, 5)}
    np.testing.assert_array_equal(both.pooled("visual"), features.pooled("visual"))
    assert both.present("text").tolist() == [True, False, False]
    assert same(Features.concat([Features.empty(), features]), features)
    with pytest.raises(InputError, match="dimensions"):
        Features.concat([features, Features.empty(["d"], {"visual": (1, 9)})])


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError):
        Features(["a"], {"text": np.zeros((2, 1, 3))}, {"text": np.zeros((2, 1), bool)})
    with pytest.raises(InputError):
        Features(["a"], {"text": np.zeros((1, 1, 3))}, {"text": np.zeros((1, 2), bool)})
