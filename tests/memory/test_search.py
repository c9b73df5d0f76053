"""Search against its definition, item by item (docs/retrieval.md)."""

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3tr.errors import InputError
from m3tr.memory.bank import Bank
from m3tr.memory.keys import Keys, unit

ETAS = (0.0, 0.25, 0.5, 1.0)
WEIGHTS = (None, {"text": 1.0}, {"audio": 0.2, "text": 3.0}, {"audio": 0.0, "text": 0.0})


def excluded(rng, bank, n):
    """A few positions for each query to be left out."""
    return [np.flatnonzero(rng.random(len(bank)) < 0.2) for _ in range(n)]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 40),
    k=st.integers(1, 15),
    eta=st.sampled_from(ETAS),
    weights=st.sampled_from(WEIGHTS),
    clock=st.booleans(),
    leave_out=st.booleans(),
)
def test_random_worlds(make, agrees, seed, n, k, eta, weights, clock, leave_out):
    rng = np.random.default_rng(seed)
    bank = make.bank(rng, n)
    query = make.keys(rng, 5)
    # from before the first outcome to after the last, and exactly at each
    known_by = make.times(rng.integers(-1, 8, 5) / 1.0) if clock else None
    agrees(bank, query, k, eta, known_by, excluded(rng, bank, 5) if leave_out else None, weights)


@pytest.mark.parametrize("eta", ETAS)
def test_every_clock_of_a_larger_bank(make, agrees, eta):
    rng = np.random.default_rng(1)
    bank = make.bank(rng, 70, n_days=20, titles=30)
    known_by = np.concatenate(
        [np.unique(bank.items["known_at"].to_numpy()), make.times(np.array([-9.0, 500.0]))]
    )
    query = make.keys(rng, len(known_by))
    agrees(bank, query, 10, eta, known_by, excluded(rng, bank, len(query)))


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
    nothing = [np.empty(0, np.int64)] * 3
    found = empty.search(make.keys(rng, 3), 4, 0.5, exclude=nothing)
    assert found.index.shape == (3, 4) and not found.found.any()
    nobody = bank.search(make.keys(rng, 0), 4, 0.5)
    assert nobody.index.shape == (0, 4)


def test_a_query_with_many_copies_still_gets_its_k(make, agrees):
    """The copies are the best matches; leaving them out must not eat into the k."""
    rng = np.random.default_rng(5)
    bank, query = make.bank(rng, 40), make.keys(rng, 1)
    copies = np.arange(len(bank)) < 25

    def copied(own, theirs):
        return np.where(copies[:, None], own, theirs)

    keys = Keys(
        copied(query.trajectory, bank.keys.trajectory),
        {m: copied(query.content[m], bank.keys.content[m]) for m in query.content},
        bank.keys.younger,
    )
    titles = pl.Series(np.where(copies, "the same", "another " + bank.items["video_id"].to_numpy()))
    crowded = Bank.build(bank.items.with_columns(title=titles), keys, {})
    asked = pl.DataFrame({"video_id": ["new"], "title": ["The Same!"]})
    left_out = crowded.alike(asked)
    assert len(left_out[0]) == 25
    found = agrees(crowded, query, 10, 0.5, None, left_out)
    assert found.found.sum() == 10


def test_the_answer_does_not_depend_on_companions(make):
    """Bit by bit: neither on the size of the batch nor on who else asks."""
    rng = np.random.default_rng(6)
    bank, query = make.bank(rng, 5_000, n_days=300), make.keys(rng, 300)
    known_by = make.times(rng.integers(0, 300, 300))
    together = bank.search(query, 7, 0.3, known_by=known_by)
    for q in (0, 17, 299):
        one = np.array([q])
        alone = bank.search(query.select(one), 7, 0.3, known_by=known_by[one])
        assert np.array_equal(alone.index[0], together.index[q])
        assert np.array_equal(alone.score[0], together.score[q])


def test_among_equals_the_later_known_comes_first(make):
    rng = np.random.default_rng(7)
    n = 500
    same = Keys(np.tile(make.keys(rng, 1).trajectory, (n, 1)))
    items = make.items(rng, n, n_days=n).drop("title")
    bank = Bank.build(items, same, {})
    query = Keys(same.trajectory[:1])
    for eta in (0.0, 1.0):  # nothing to compare, and everything equal
        found = bank.search(query, 20, eta)
        assert found.index[0].tolist() == list(range(n - 1, n - 21, -1))


@pytest.mark.parametrize("n", [50, 9_000])
def test_what_float32_cannot_tell_apart_is_in_order_of_float64(make, n):
    """Many more items than candidates are kept differ in the last bits of their keys."""
    rng = np.random.default_rng(n)
    base = make.keys(rng, 1).trajectory if n < 100 else unit(rng.normal(size=(1, 300)))
    key = np.repeat(base, n, 0)
    for _ in range(3):
        up = rng.random(key.shape) < 0.5
        key = np.where(up, np.nextafter(key, np.float32(2)), key)
    query = unit(base + 0.3 * rng.normal(size=(5, base.shape[1])))
    bank = Bank.build(make.items(rng, n), Keys(key), {})
    exact = np.float64(query) @ np.float64(bank.keys.trajectory).T
    found = bank.search(Keys(query), 10, 1.0)
    right = np.lexsort((-np.broadcast_to(np.arange(n), exact.shape), -exact), axis=1)[:, :10]
    picked = np.take_along_axis(exact, found.index, 1)
    assert np.allclose(picked, np.take_along_axis(exact, right, 1), rtol=0, atol=1e-15)
    for row in range(5):  # the order, unless float64 cannot tell either
        gaps = np.diff(np.sort(exact[row])[-11:])
        if gaps.min() > 1e-14:
            assert found.index[row].tolist() == right[row].tolist()


def test_items_lie_in_the_order_in_which_they_became_known(make):
    rng = np.random.default_rng(8)
    bank = make.bank(rng, 60)
    known_at, ids = bank.items["known_at"].to_list(), bank.items["video_id"].to_list()
    pairs = list(zip(known_at, ids, strict=True))
    assert pairs == sorted(pairs)


def test_building_keeps_items_keys_and_values_together(make):
    rng = np.random.default_rng(9)
    n = 30
    items = pl.DataFrame(
        {
            "video_id": [f"v{i:02d}" for i in range(n)],
            "known_at": make.times(rng.integers(0, 5, n)),
            "likes": np.arange(n),
        }
    )
    keys = make.keys(rng, n)
    bank = Bank.build(items, keys, {"number": np.arange(n)})
    order = [int(v[1:]) for v in bank.items["video_id"]]
    assert bank.value("number").tolist() == order == bank.items["likes"].to_list()
    assert np.array_equal(bank.keys.trajectory, keys.trajectory[order])
    assert np.array_equal(bank.keys.content["text"], keys.content["text"][order])
    shuffled = rng.permutation(n)
    again = Bank.build(items[shuffled.tolist()], keys.select(shuffled), {"number": shuffled})
    assert again.items.equals(bank.items)
    assert np.array_equal(again.keys.trajectory, bank.keys.trajectory)


def test_a_younger_query_meets_the_items_when_they_were_as_young(make, agrees):
    rng = np.random.default_rng(10)
    bank, query = make.bank(rng, 50), make.keys(rng, 6)
    young = Bank.build(
        bank.items, Keys(bank.keys.younger[0.25], bank.keys.content), {"n": np.arange(50)}
    )
    ages = np.array([0.25, np.nan, 0.25, np.nan, np.nan, 0.25])
    found = bank.search(query, 5, 0.7, age=ages)
    then, now = young.search(query, 5, 0.7), bank.search(query, 5, 0.7)
    for q, age in enumerate(ages):
        expected = now if np.isnan(age) else then
        for name in ("index", "score", "trajectory", "content"):
            assert np.allclose(getattr(found, name)[q], getattr(expected, name)[q], atol=1e-6)
    with pytest.raises(InputError, match=r"at the age of 0.3 days, only at \[0.25\]"):
        bank.search(query, 5, age=np.full(6, 0.3))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"k": 0}, "k must be between 1 and 10000, not 0"),
        ({"eta": 1.5}, "eta must be between 0 and 1"),
        ({"eta": float("nan")}, "eta must be between 0 and 1"),
        ({"weights": {"smell": 1.0}}, "no modality 'smell', only audio, text"),
        ({"weights": {"text": -1.0}}, "weight of text must be between 0 and 1e.06, not -1"),
        ({"weights": {"text": float("nan")}}, "weight of text must be .* not nan"),
        ({"weights": {"text": float("inf")}}, "weight of text must be .* not inf"),
        ({"k": 10**12}, "k must be between 1 and 10000"),
        ({"known_by": np.array(["NaT", "2025-01-01"], "M8[us]")}, "known_by holds no time"),
        ({"known_by": np.zeros(3, "M8[us]")}, "known_by has the shape .3,., there are 2 queries"),
        ({"exclude": [np.zeros(1, int)]}, "exclude is of 1 queries, there are 2"),
    ],
)
def test_nonsense_is_one_sentence(make, arguments, sentence):
    rng = np.random.default_rng(11)
    with pytest.raises(InputError, match=sentence):
        make.bank(rng, 9).search(make.keys(rng, 2), **arguments)


def test_keys_of_another_width_are_refused(make):
    rng = np.random.default_rng(12)
    with pytest.raises(InputError, match="trajectory keys have 3 dimensions, those of the bank 5"):
        make.bank(rng, 9).search(Keys(np.ones((1, 3), np.float32)))


def test_one_clock_may_serve_all_and_the_order_of_what_is_left_out_does_not_matter(make):
    rng = np.random.default_rng(13)
    bank, queries = make.bank(rng, 40), make.keys(rng, 3)
    clock = bank.items["known_at"].to_numpy()[20]
    out = [np.array([20, 5, 0, 5])] * 3
    one = bank.search(queries, 5, known_by=clock, exclude=out)
    two = bank.search(
        queries, 5, known_by=np.full(3, clock), exclude=[np.unique(rows) for rows in out]
    )
    assert np.array_equal(one.index, two.index) and not np.isin(one.index, out[0]).any()


def test_who_is_not_there_is_a_row_of_nulls(make):
    rng = np.random.default_rng(14)
    bank = make.bank(rng, 9)
    told = bank.describe(np.array([3, -1, 0]))
    assert told["video_id"].to_list() == [
        bank.items["video_id"][3],
        None,
        bank.items["video_id"][0],
    ]
    assert bank.describe(np.array([-1, -1]))["video_id"].to_list() == [None, None]
    assert bank.take("increment", np.array([[-1, 2]])).tolist() == [
        [[0.0, 0.0], bank.value("increment")[2].tolist()]
    ]


def test_what_is_changed_is_no_longer_the_folder(make, tmp_path):
    """An append to a bank with more remembered must not go into the folder that knows less."""
    rng = np.random.default_rng(15)
    make.bank(rng, 9).save(tmp_path)
    opened = Bank.open(tmp_path)
    richer = opened.with_values({"residual": np.zeros(9)})
    more = make.items(rng, 4).with_columns(video_id="n" + pl.col("video_id"))
    values = {"increment": np.zeros((4, 2)), "residual": np.ones(4)}
    grown = richer.append(more, make.keys(rng, 4), values)
    assert len(grown) == 13 and grown.remembered == ["increment", "residual"]
    assert (
        len(
            opened.with_weights(0.3, {}, {}).append(
                more, make.keys(rng, 4), {"increment": np.zeros((4, 2))}
            )
        )
        == 13
    )
    assert len(Bank.open(tmp_path)) == 9
    with pytest.raises(InputError, match="do not have the same value 'residual'"):
        opened.append(more, make.keys(rng, 4), values)
