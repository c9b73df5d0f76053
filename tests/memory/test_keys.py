"""Keys: the cosines are those of the definition, the statistics those of the training split."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from m3tr.memory.keys import CLIP, KeyMaker

DIMS = {"visual": 6, "text": 9}


def world(rng, n):
    x_s = rng.normal(2.0, 3.0, (n, 5))
    x_s[:, 4] = 7.0  # a constant column
    content = {m: rng.normal(size=(n, d)).astype("f4") for m, d in DIMS.items()}
    for m in content:
        content[m] /= np.linalg.norm(content[m], axis=1, keepdims=True)
        content[m][rng.random(n) < 0.3] = 0
    return x_s, content


def cosine(a, b):
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / length if length > 1e-9 else 0.0


def test_cosines_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    x_s, content = world(rng, 40)
    keys = KeyMaker().fit(x_s, content).keys(x_s, content)
    z = (x_s - x_s.mean(0)) / np.where(x_s.std(0) > 0, x_s.std(0), 1)
    z = np.clip(z, -CLIP, CLIP)
    centred = {}
    for m in DIMS:
        there = content[m].any(1, keepdims=True)
        centred[m] = np.where(there, content[m] - content[m][there[:, 0]].mean(0), 0)
    for i in range(40):
        for j in range(40):
            got = keys.trajectory[i] @ keys.trajectory[j]
            assert got == pytest.approx(cosine(z[i], z[j]), abs=1e-5)
            for m in DIMS:
                got = keys.content[m][i] @ keys.content[m][j]
                assert got == pytest.approx(cosine(centred[m][i], centred[m][j]), abs=1e-5)


def test_keys_are_unit_or_zero():
    rng = np.random.default_rng(1)
    x_s, content = world(rng, 60)
    for m in content:
        content[m][:3] = 0
    keys = KeyMaker().fit(x_s, content).keys(x_s, content)
    assert np.allclose(np.linalg.norm(keys.trajectory, axis=1), 1, atol=1e-6)
    for m in DIMS:
        length = np.linalg.norm(keys.content[m], axis=1)
        assert (length[:3] == 0).all()
        assert np.allclose(length[length > 0], 1, atol=1e-6) and (length > 0).sum() > 30


def test_an_absent_modality_has_no_part():
    rng = np.random.default_rng(2)
    x_s, content = world(rng, 30)
    maker = KeyMaker().fit(x_s, content)
    blind = content | {"visual": np.zeros_like(content["visual"])}
    keys, without = maker.keys(x_s, blind), maker.keys(x_s, {"text": content["text"]})
    for m in DIMS:
        assert np.array_equal(keys.content[m], without.content[m])
    assert (keys.content["visual"] == 0).all() and keys.content["text"].any()
    # a modality that was never fitted is ignored
    extra = content | {"audio": rng.normal(size=(30, 4)).astype("f4")}
    assert set(maker.keys(x_s, extra).content) == set(DIMS)
    assert maker.modalities == ["text", "visual"]


def test_no_content_at_all():
    rng = np.random.default_rng(3)
    x_s, _ = world(rng, 8)
    keys = KeyMaker().fit(x_s, {}).keys(x_s, {})
    assert keys.content == {} and keys.trajectory.any()


def test_only_the_training_split_decides():
    rng = np.random.default_rng(4)
    x_s, content = world(rng, 30)
    maker = KeyMaker().fit(x_s, content)
    before = {name: a.copy() for name, a in maker.arrays.items()}
    rows = maker.keys(x_s[:3], {m: c[:3] for m, c in content.items()})
    # keys of strangers change neither the statistics nor the keys of others
    odd_x_s, odd = world(np.random.default_rng(5), 50)
    maker.keys(odd_x_s * 1e3, odd)
    together = maker.keys(
        np.vstack([x_s[:3], odd_x_s * 1e3]),
        {m: np.vstack([content[m][:3], odd[m]]) for m in content},
    )
    for name, a in maker.arrays.items():
        assert np.array_equal(a, before[name])
    assert np.allclose(together.trajectory[:3], rows.trajectory, atol=1e-7)
    for m in content:
        assert np.allclose(together.content[m][:3], rows.content[m], atol=1e-7)


def test_a_far_outlier_does_not_dominate():
    rng = np.random.default_rng(6)
    x_s, content = world(rng, 50)
    maker = KeyMaker().fit(x_s, content)
    far = x_s[:1].copy()
    far[0, 0] = 1e9
    assert np.isfinite(maker.standardise(far)).all()
    assert np.abs(maker.standardise(far)).max() == CLIP


def test_arrays_are_all_there_is(tmp_path):
    """Also through a file, which gives them back in another order."""
    rng = np.random.default_rng(7)
    x_s, content = world(rng, 20)
    maker = KeyMaker().fit(x_s, content)
    save_file(maker.arrays, tmp_path / "keys.safetensors")
    backwards = dict(reversed(maker.arrays.items()))
    one = maker.keys(x_s, content)
    for arrays in (maker.arrays, backwards, load_file(tmp_path / "keys.safetensors")):
        two = KeyMaker.from_arrays(arrays).keys(x_s, content)
        assert np.array_equal(one.trajectory, two.trajectory)
        assert list(one.content) == list(two.content)
        for m in content:
            assert np.array_equal(one.content[m], two.content[m])


def test_each_age_has_its_own_scale():
    rng = np.random.default_rng(8)
    x_s, content = world(rng, 20)
    younger = {0.5: x_s * 3 + 1, 0.25: x_s * 0.1}
    maker = KeyMaker().fit(x_s, content, younger)
    assert maker.younger == [0.25, 0.5]
    keys = maker.keys(x_s, content, younger)
    for age in younger:  # a change of scale is no change of key
        assert np.allclose(keys.younger[age], keys.trajectory, atol=1e-5)
    assert not np.allclose(maker.trajectory(x_s, 0.5), keys.trajectory, atol=1e-2)
