"""Search against its definition, item by item (docs/model.md, 4)."""

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3tr.memory.bank import Bank, Keys

ETAS = (0.0, 0.25, 0.5, 1.0)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 40),
    k=st.integers(1, 15),
    eta=st.sampled_from(ETAS),
    clock=st.booleans(),
    groups=st.sampled_from([None, 1, 2, 9, 1000]),
)
def test_random_worlds(make, agrees, seed, n, k, eta, clock, groups):
    rng = np.random.default_rng(seed)
    bank = make.bank(rng, n, n_groups=groups or 9)
    query = make.keys(rng, 5)
    # from before the first outcome to after the last, and exactly at each
    known_by = make.times(rng.integers(-1, 8, 5) / 1.0) if clock else None
    exclude = rng.integers(0, groups, 5) if groups else None
    agrees(bank, query, k, eta, known_by, exclude)


@pytest.mark.parametrize("eta", ETAS)
def test_every_clock_of_a_larger_bank(make, agrees, eta):
    rng = np.random.default_rng(1)
    bank = make.bank(rng, 70, n_days=20, n_groups=30)
    known_by = np.concatenate(
        [np.unique(bank.items["known_at"].to_numpy()), make.times(np.array([-9.0, 500.0]))]
    )
    query = make.keys(rng, len(known_by))
    agrees(bank, query, 10, eta, known_by, rng.integers(0, 30, len(known_by)))


@pytest.mark.parametrize(("eta", "blind"), [(0.0, "trajectory"), (1.0, "content")])
def test_eta_at_its_ends_sees_one_side_only(make, eta, blind):
    rng = np.random.default_rng(2)
    bank, query = make.bank(rng, 30), make.keys(rng, 4)
    other = make.keys(np.random.default_rng(99), 4)
    sides = {"trajectory": query.trajectory, "content": query.content}
    changed = Keys(**(sides | {blind: getattr(other, blind)}))
    before, after = bank.search(query, 5, eta), bank.search(changed, 5, eta)
    assert np.array_equal(before.index, after.index)
    assert np.array_equal(before.score, after.score)
    assert not np.array_equal(
        bank.search(query, 5, 1 - eta).index, bank.search(changed, 5, 1 - eta).index
    )


def test_a_clock_one_microsecond_early_hides_an_item(make):
    rng = np.random.default_rng(3)
    bank, query = make.bank(rng, 12, n_days=1), make.keys(rng, 1)
    moment = bank.items["known_at"].to_numpy()[:1]
    tick = np.timedelta64(1, "us")
    assert bank.search(query, 3, 0.5, known_by=moment).found.all()
    early = bank.search(query, 3, 0.5, known_by=moment - tick)
    assert not early.found.any() and (early.score == 0).all()


def test_an_empty_bank_and_no_query(make):
    rng = np.random.default_rng(4)
    empty, bank = make.bank(rng, 0), make.bank(rng, 9)
    found = empty.search(make.keys(rng, 3), 4, 0.5, exclude=np.zeros(3, int))
    assert found.index.shape == (3, 4) and not found.found.any()
    nobody = bank.search(make.keys(rng, 0), 4, 0.5)
    assert nobody.index.shape == (0, 4)


def test_a_query_with_many_copies_still_gets_its_k(make, agrees):
    """The copies are the best matches; leaving them out must not eat into the k."""
    rng = np.random.default_rng(5)
    bank = make.bank(rng, 40)
    query = make.keys(rng, 1)
    copies = np.arange(len(bank)) < 25
    keys = Keys(
        np.where(copies[:, None], query.trajectory, bank.keys.trajectory),
        np.where(copies[:, None], query.content, bank.keys.content),
    )
    items = bank.items.with_columns(pl.Series("group", np.where(copies, 77, 5)))
    crowded = Bank.build(items, keys, {})
    found = agrees(crowded, query, 10, 0.5, None, np.array([77]))
    assert found.found.sum() == 10


def test_items_lie_in_the_order_in_which_they_became_known(make):
    rng = np.random.default_rng(6)
    bank = make.bank(rng, 60)
    known_at, ids = bank.items["known_at"].to_list(), bank.items["video_id"].to_list()
    pairs = list(zip(known_at, ids, strict=True))
    assert pairs == sorted(pairs)


def test_building_keeps_items_keys_and_values_together(make):
    rng = np.random.default_rng(7)
    n = 30
    items = pl.DataFrame(
        {
            "video_id": [f"v{i:02d}" for i in range(n)],
            "known_at": make.times(rng.integers(0, 5, n)),
            "group": np.arange(n),
        }
    )
    keys = make.keys(rng, n)
    bank = Bank.build(items, keys, {"number": np.arange(n)})
    order = [int(v[1:]) for v in bank.items["video_id"]]
    assert bank.values["number"].tolist() == order == bank.items["group"].to_list()
    assert np.array_equal(bank.keys.trajectory, keys.trajectory[order])
    assert np.array_equal(bank.keys.content, keys.content[order])
    shuffled = rng.permutation(n)
    again = Bank.build(
        items[shuffled.tolist()],
        Keys(keys.trajectory[shuffled], keys.content[shuffled]),
        {"number": np.arange(n)[shuffled]},
    )
    assert again.items.equals(bank.items)
    assert np.array_equal(again.keys.trajectory, bank.keys.trajectory)


def test_other_groups_change_who_is_left_out(make, agrees):
    rng = np.random.default_rng(8)
    bank, query = make.bank(rng, 20), make.keys(rng, 3)
    groups = pl.DataFrame({"video_id": bank.items["video_id"], "group": [1] * 19 + [2]})
    regrouped = bank.with_groups(groups)
    found = agrees(regrouped, query, 5, 0.5, None, np.array([1, 2, 3]))
    assert found.found.sum(1).tolist() == [1, 5, 5]
    assert bank.items["group"].n_unique() > 2  # the first bank is as it was
