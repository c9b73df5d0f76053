"""When latent classes are fitted, on what, and when they are not."""

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from m3tr.hawkes.latent import LatentClasses
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings
from m3tr.training import classes as training
from m3tr.training.classes import FEWEST, fit_classes, lower, whole_histories
from tests.hawkes.trajectories import END, KINDS, SEEN, world

VIDEOS = 90


@pytest.fixture(scope="module")
def tables():
    return world(VIDEOS, seed=9)


@pytest.fixture(scope="module")
def whole(tables):
    return whole_histories(tables[0], tables[1], KINDS)


def process(classes: int = 3, seed: int = 0) -> MambaHawkes:
    """An unfitted process whose memory is of three hours and of two days."""
    settings = HawkesSettings(decays=[0.125, 2.0], context=False, classes=classes, seed=seed)
    return MambaHawkes(KINDS, settings)


def fit(whole, mhp):
    return fit_classes(whole, np.full(len(whole), SEEN), mhp)


def test_an_event_log_gives_the_classes_that_are_asked_for(whole):
    found = fit(whole, process(classes=2))
    assert len(found) == 2 and found.arrays["beta"].tolist() == [8.0, 0.5]
    assert found.arrays["mix"].shape == (2, len(KINDS))
    assert len(fit(whole, process(classes=3))) == 3


def test_few_videos_give_fewer_classes_and_too_few_none(whole):
    assert len(fit(whole.select(np.arange(2 * FEWEST)), process(classes=6))) == 2
    assert len(fit(whole.select(np.arange(2 * FEWEST - 1)), process(classes=6))) == 0


def test_no_classes_are_fitted_where_none_are_asked_for(whole):
    nothing = fit(whole, process(classes=0))
    assert len(nothing) == 0 and nothing.arrays == {}


def test_counters_give_none(tables):
    """Rows that count hundreds; a log of which a few rows count more is still a log."""
    feedback, examples, _ = tables
    counter = feedback.with_columns(count=pl.lit(300, dtype=pl.Int64))
    assert len(fit(whole_histories(counter, examples, KINDS), process())) == 0
    mixed = pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.lit(7)).otherwise(pl.col("count"))
    log = feedback.with_columns(count=mixed.cast(pl.Int64))
    assert len(fit(whole_histories(log, examples, KINDS), process())) == 3


def test_no_feedback_gives_none(tables):
    nothing = whole_histories(tables[0].clear(), tables[1], KINDS)
    assert len(nothing) == VIDEOS and len(fit(nothing, process())) == 0


def test_a_seed_gives_one_result_and_files_keep_it(whole, tmp_path):
    one, two = fit(whole, process()), fit(whole, process())
    save_file(one.arrays, tmp_path / "classes.safetensors")
    kept = LatentClasses.from_arrays(load_file(tmp_path / "classes.safetensors"))
    for other in (two, kept):
        assert one.arrays.keys() == other.arrays.keys()
        assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
    save_file({}, tmp_path / "none.safetensors")
    assert len(LatentClasses.from_arrays(load_file(tmp_path / "none.safetensors"))) == 0


@pytest.fixture
def few(whole, monkeypatch):
    """Twelve videos, which are enough for two classes here."""
    monkeypatch.setattr(training, "FEWEST", 2)
    return whole.select(np.arange(12))


def read_of(h, mhp) -> np.ndarray:
    """Which videos the fit reads: with other counts of theirs it is another."""
    usual = fit(h, mhp).arrays

    def differs(i: int) -> bool:
        found = fit(doubled(h, [i]), mhp).arrays
        return any(not np.array_equal(found[name], usual[name]) for name in usual)

    return np.flatnonzero([differs(i) for i in range(len(h))])


def doubled(h, videos):
    return replace(h, count=np.where(np.isin(h.video, videos), 2 * h.count, h.count))


@pytest.mark.parametrize("most", [8, 11, 12, 40])
def test_of_very_many_videos_some_are_read(few, monkeypatch, most):
    monkeypatch.setattr(training, "MOST", most)
    assert len(read_of(few, process(classes=2))) == min(most, 12)


def test_of_videos_with_very_many_events_some_are_read(few, monkeypatch):
    events = np.diff(few.offsets)
    monkeypatch.setattr(training, "MOST_EVENTS", int(events.sum()))
    assert len(read_of(few, process(classes=2))) == 12
    monkeypatch.setattr(training, "MOST_EVENTS", most := int(0.8 * events.sum()))
    read = read_of(few, process(classes=2))
    assert most - events.max() < events[read].sum() <= most


def test_a_video_of_very_many_events_takes_no_others_place(few, monkeypatch):
    events = np.diff(few.offsets)
    monkeypatch.setattr(training, "LONGEST", int(events.max()) - 1)
    assert (
        read_of(few, process(classes=2)).tolist() == np.flatnonzero(events < events.max()).tolist()
    )


def test_videos_that_are_not_read_change_nothing(few, monkeypatch):
    monkeypatch.setattr(training, "MOST", 8)
    read = read_of(few, process(classes=2))
    others = np.setdiff1d(np.arange(12), read)
    one, two = (fit(h, process(classes=2)).arrays for h in (few, doubled(few, others)))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert read.tolist() != read_of(few, process(classes=2, seed=1)).tolist()


def test_as_many_classes_are_fitted_as_the_videos_that_are_read_allow(whole, monkeypatch):
    for most, classes in ((60, 3), (59, 2), (39, 0)):
        monkeypatch.setattr(training, "MOST", most)
        assert len(fit(whole, process(classes=6))) == classes


def test_mostly_silent_videos_are_fitted_without_a_warning(whole):
    """Where few grew, fewer classes differ than are asked for."""
    loud = whole.offsets[5]
    offsets = np.minimum(whole.offsets, loud)
    silent = replace(
        whole, offsets=offsets, time=whole.time[:loud], kind=whole.kind[:loud],
        count=whole.count[:loud],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for h in (silent, whole.select(np.arange(50))):
            found = fit(h, process(classes=4))
            assert all(np.isfinite(array).all() for array in found.arrays.values())
            assert np.isfinite(found.read(h).log_class).all()
    same = replace(silent, time=np.full(loud, 2.0))
    assert 1 <= len(fit(same, process(classes=4))) <= 4


def test_whole_histories_end_at_the_last_horizon(tables):
    feedback, examples, _ = tables
    short = examples.with_columns(
        horizon_days=pl.lit([2.0, 3.0]), known_at=pl.col("published_at") + pl.duration(days=3)
    )
    h, longer = (whole_histories(feedback, each, KINDS) for each in (short, examples))
    assert (h.end == 3).all() and (longer.end == END).all()
    assert h.time.max() <= 3 < longer.time.max()
    assert len(h.time) == (longer.time <= 3).sum()
    later = feedback.join(short.select("video_id", "known_at"), on="video_id").with_columns(
        count=pl.when(pl.col("time") > pl.col("known_at")).then(999).otherwise("count")
    )
    assert h.count.sum() == whole_histories(later, short, KINDS).count.sum()


def test_whole_histories_are_of_the_given_videos_in_their_order(tables):
    feedback, examples, _ = tables
    few = examples[[5, 2, 40]]
    h = whole_histories(feedback, few, KINDS)
    rows = [feedback.filter(pl.col("video_id") == v).height for v in few["video_id"]]
    assert np.diff(h.offsets).tolist() == rows


@pytest.mark.parametrize(
    ("gain", "says"), [(0.0, False), (0.01, False), (0.5, True), (-0.5, False)]
)
def test_errors_are_lower_only_beyond_chance(gain, says):
    """Of 200 errors, smaller by a share that is lost in their differences, or is not."""
    rng = np.random.default_rng(1)
    before, other = rng.normal(size=(2, 200))
    after = (1 - gain) * before + 0.1 * other
    assert lower(after, before, np.arange(200)) == says


def test_gains_of_many_videos_of_one_creator_are_chance():
    """As gains of as many creators they are none."""
    rng = np.random.default_rng(2)
    before = rng.normal(size=200)
    after = np.where(np.arange(200) < 100, 0.5, 1.0) * before
    one = np.maximum(np.arange(200), 99)  # the first hundred are of one creator
    assert lower(after, before, np.arange(200)) and not lower(after, before, one)
    pairs = np.arange(200) // 2
    assert lower(after, before, pairs)


def test_names_of_groups_and_the_order_of_videos_are_irrelevant():
    rng = np.random.default_rng(3)
    before = rng.normal(size=120)
    after, group = before * rng.uniform(0.5, 1.2, 120), rng.integers(0, 30, 120)
    order = rng.permutation(120)
    says = [
        lower(scale * after, before, group) == lower(scale * after[order], before[order], names)
        for scale in (0.8, 1.0, 1.2)
        for names in (group[order], -7 * group[order] - 3)
    ]
    assert all(says)


def test_errors_are_not_lower_than_themselves():
    errors = np.random.default_rng(0).normal(size=50)
    assert not lower(errors, errors, np.arange(50))
    assert not lower(np.zeros(3), np.zeros(3), np.arange(3))
