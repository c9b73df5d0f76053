"""The summary of features, against numpy on the whole array, and the drift between versions."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from partfiles import WIDTHS, draw, names, write

from m3tr.errors import InputError
from m3tr.features import drift, statistics
from m3tr.features.statistics import Summary, summarize

ENCODERS = {m: f"{m}01" for m in WIDTHS}


def made(folder: Path, modalities: dict, **arguments: object) -> Summary:
    n = len(next(iter(modalities.values())))
    return summarize(write(folder, modalities, **arguments), names(n))


@pytest.mark.parametrize(("parts", "rows"), [(1, 1024), (3, 1024), (4, 7)])
def test_the_summary_is_numpys_on_the_whole_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int, rows: int
) -> None:
    monkeypatch.setattr(statistics, "ROWS_AT_ONCE", rows)
    drawn = draw(50, seed=1)
    for row in drawn["text"]:
        if row is not None:
            row[:, 2] = 0.25  # a constant
    for i in (3, 20, 49):
        drawn["audio"][i] = np.ones((2, 4), np.float32)  # three of a kind
    found = made(tmp_path, drawn, parts=parts)
    assert list(found.modalities) == ["visual", "audio", "text"]
    for m, rows_of in drawn.items():
        there = [row for row in rows_of if row is not None]
        whole = np.concatenate(there).astype(np.float64)
        norms, counts = np.linalg.norm(whole, axis=1), [len(row) for row in there]
        one = found.modalities[m]
        assert one.videos == len(there) and one.coverage == len(there) / 50
        assert one.tokens == (min(counts), pytest.approx(np.mean(counts)), max(counts))
        assert one.norms == pytest.approx((norms.min(), norms.mean(), norms.max()))
        np.testing.assert_allclose(one.mean, whole.mean(0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(one.deviation, whole.std(0), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(one.constant, np.ptp(whole, axis=0) == 0)
        assert one.non_finite == 0
    assert found.modalities["text"].constant.tolist() == [False, False, True, False, False]
    assert found.modalities["text"].constant_share == 0.2
    assert found.modalities["visual"].duplicates == 0
    assert found.modalities["audio"].duplicates == 3 / found.modalities["audio"].videos


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(
        st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=4), min_size=1, max_size=12
    ),
    at_once=st.integers(1, 13),
)
def test_slices_never_change_the_moments(
    tmp_path_factory: pytest.TempPathFactory, values: list[list[float]], at_once: int
) -> None:
    rows = [np.array(v, np.float32)[:, None] for v in values]
    paths = write(tmp_path_factory.mktemp("parts"), {"text": rows})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "ROWS_AT_ONCE", at_once)
        found = summarize(paths, names(len(rows))).modalities["text"]
    whole = np.concatenate(rows).astype(np.float64)
    np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.deviation, whole.std(0), rtol=1e-7, atol=1e-7)


def test_broken_numbers_are_counted_and_left_out(tmp_path: Path) -> None:
    drawn = {"visual": draw(20, seed=2, absent=0)["visual"]}
    drawn["visual"][4][0, :2] = np.nan, np.inf
    found = made(tmp_path, drawn).modalities["visual"]
    whole = np.concatenate(drawn["visual"])
    np.testing.assert_allclose(found.mean, whole[np.isfinite(whole).all(1)].mean(0), rtol=1e-5)
    assert found.non_finite == 2 and np.isfinite(found.norms).all()


def test_a_missing_token_between_others_is_none(tmp_path: Path) -> None:
    kind = pl.List(pl.Array(pl.Float32, 2))
    rows = [[[1, 2], None, [3, 4]], [None, [1, 2]], [[1, 2]], None, []]
    path = tmp_path / "part-00000.parquet"
    pl.DataFrame({"video_id": names(5), "text": pl.Series(rows, dtype=kind)}).write_parquet(path)
    found = summarize([path], names(5)).modalities["text"]
    assert found.videos == 3 and found.tokens == (1, pytest.approx(4 / 3), 2)
    np.testing.assert_allclose(found.mean, [1.5, 2.5])
    # a title is no description, even with the same words
    assert found.non_finite == 0 and found.duplicates == 0


def test_ids_against_the_videos_table(tmp_path: Path) -> None:
    drawn = {"text": draw(4, seed=3, absent=0)["text"]}
    paths = write(tmp_path, drawn, ids=["a", "b", "b", "x"])
    keys = summarize(paths, ["a", "b", "c", "d"]).keys
    assert (keys.rows, keys.repeated, keys.missing, keys.unknown) == (4, 1, 2, 1)
    assert not keys.in_order and not summarize(paths, ["b", "a", "b", "x"]).keys.in_order
    assert summarize(paths, ["a", "b", "b", "x"]).keys.in_order


def test_no_features_at_all(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    pl.DataFrame({"video_id": names(3)}).write_parquet(path)
    found = summarize([path], names(3))
    assert found.modalities == {} and found.keys.in_order
    assert summarize([], []).keys.rows == 0
    assert summarize([], names(2)).keys.missing == 2


def test_parts_that_are_none(tmp_path: Path) -> None:
    drawn = {"text": draw(4, seed=3, absent=0)["text"]}
    (path,) = write(tmp_path, drawn)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"part-00000\.parquet: no readable part"):
        summarize([path], names(4))
    pl.DataFrame({"video_id": names(2), "text": [[1.0], [2.0]]}).write_parquet(path)
    with pytest.raises(InputError, match="the column 'text' may not be List"):
        summarize([path], names(2))
    other = tmp_path / "part-00001.parquet"
    write(tmp_path, drawn)[0].rename(other)
    write(tmp_path, {"text": draw(4, seed=3, absent=0)["audio"]})
    with pytest.raises(InputError, match="text has 5 dimensions, 4 in the parts before"):
        summarize([path, other], names(4))


@pytest.mark.parametrize("seed", range(8))
def test_a_resample_has_not_moved_and_a_shifted_column_has(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(30, 400))
    drawn = {"visual": draw(n, seed, absent=0.2)["visual"]}
    drift.remember(tmp_path, made(tmp_path / "a", drawn), ENCODERS)
    again = {"visual": [drawn["visual"][i] for i in rng.integers(0, n, n)]}
    resampled = made(tmp_path / "b", again)
    before = drift.predecessor(tmp_path, resampled, ENCODERS)
    found = drift.compare(resampled, ENCODERS, before)["visual"]
    assert found.moved == 0 and found.coverage <= max(0.1, found.coverage_noise)
    for row in again["visual"]:
        if row is not None:
            row[:, 4] += 2.0 * 1.5  # of a deviation of 2
    shifted = drift.compare(made(tmp_path / "c", again), ENCODERS, before)["visual"]
    assert (shifted.shift > shifted.limit).tolist() == [False] * 4 + [True, False]
    assert shifted.moved == pytest.approx(1 / 6) and shifted.shift[4] == pytest.approx(1.5, abs=0.7)


def test_chance_does_not_move_a_few_videos(tmp_path: Path) -> None:
    beyond = 0
    for seed in range(20):
        folder = tmp_path / str(seed)
        drift.remember(folder, made(folder / "a", draw(14, seed)), ENCODERS)
        again = made(folder / "b", draw(14, seed + 1000))
        found = drift.compare(again, ENCODERS, drift.predecessor(folder, again, ENCODERS))
        assert all(one.moved == 0 for one in found.values())
        beyond += sum(int((one.shift > drift.MOVED).sum()) for one in found.values())
    assert beyond > 20  # without the standard errors


def test_a_small_shift_of_many_videos_counts(tmp_path: Path) -> None:
    drawn = {"text": draw(2000, seed=1, absent=0)["text"]}
    old = made(tmp_path / "a", drawn)
    drift.remember(tmp_path, old, ENCODERS)
    for row in drawn["text"]:
        row[:, 0] += 0.3 * 2
        row[:, 1] += 0.2 * 2
    new = made(tmp_path / "b", drawn)
    found = drift.compare(new, ENCODERS, drift.predecessor(tmp_path, new, ENCODERS))["text"]
    assert found.limit == 0.25
    assert (found.shift > found.limit).tolist() == [True, False, False, False, False]


def test_a_constant_that_changes_has_moved(tmp_path: Path) -> None:
    drawn = {"text": [np.full((1, 2), 0.1, np.float32) for _ in range(50)]}
    old = made(tmp_path / "a", drawn)
    drift.remember(tmp_path, old, ENCODERS)
    for row in drawn["text"]:
        row[:, 1] = 0.2
    new = made(tmp_path / "b", drawn)
    found = drift.compare(new, ENCODERS, drift.predecessor(tmp_path, new, ENCODERS))["text"]
    assert (found.shift > found.limit).tolist() == [False, True]


def test_only_the_same_encoders_are_compared(tmp_path: Path) -> None:
    old, new = (made(tmp_path / str(seed), draw(40, seed)) for seed in (1, 2))
    drift.remember(tmp_path, old, ENCODERS)
    for encoders, compared in [
        (ENCODERS, {"visual", "audio", "text"}),
        (ENCODERS | {"audio": "another"}, {"visual", "text"}),
        ({"text": ENCODERS["text"]}, {"text"}),
        (None, set()),
    ]:
        before = drift.predecessor(tmp_path, new, encoders)
        assert set(drift.compare(new, encoders, before)) == compared


def test_the_same_features_keep_their_predecessor(tmp_path: Path) -> None:
    first, second = (made(tmp_path / str(seed), draw(40, seed)) for seed in (1, 2))
    assert drift.predecessor(tmp_path, first, ENCODERS) is None
    assert drift.remember(tmp_path, first, ENCODERS)
    assert not drift.remember(tmp_path, first, ENCODERS)
    assert drift.predecessor(tmp_path, first, ENCODERS) is None
    assert drift.remember(tmp_path, second, ENCODERS)
    kept = (tmp_path / drift.FILE).read_bytes()
    for _ in range(2):
        before = drift.predecessor(tmp_path, second, ENCODERS)
        assert before is not None
        digest = before["modalities"]["text"]["digest"]
        assert digest == first.modalities["text"].digest
        assert not drift.remember(tmp_path, second, ENCODERS)
        assert (tmp_path / drift.FILE).read_bytes() == kept
    # back to what it was: held against what came in between
    before = drift.predecessor(tmp_path, first, ENCODERS)
    assert before is not None
    assert before["modalities"]["text"]["digest"] == second.modalities["text"].digest


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 9, "versions": []}', '{"format": 1, "versions": [{}]}',
     '{"format": 1, "versions": [{"rows": 3, "encoders": {}, "modalities": {"text": 1}}]}'],
)  # fmt: skip
def test_an_unreadable_version_is_told_and_replaced(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / drift.FILE).write_text(text)
    found = made(tmp_path / "a", draw(20, 1))
    assert drift.predecessor(tmp_path, found, ENCODERS) is None
    told = capsys.readouterr().out
    assert told.startswith("warning: ") and told.count("\n") == 1 and drift.FILE in told
    assert drift.remember(tmp_path, found, ENCODERS)
    assert json.loads((tmp_path / drift.FILE).read_text())["versions"][0]["rows"] == 20
    assert capsys.readouterr().out == ""
