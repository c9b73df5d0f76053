"""Near-duplicate groups, against connected components by hand."""

from itertools import combinations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from m3tr.data.duplicates import near_duplicates

video = st.tuples(
    st.sampled_from(["Cat!", "cat", "  CAT ", "dog", "", "!!", None]),
    st.sampled_from(["x", "y", None]),
    st.sampled_from(["m/1.mp4", "m/2.mp4", "m/3.mp4", None, None, None]),
)


def alike(one, other):
    def plain(title):
        return "".join(c for c in (title or "").lower() if c.isalnum())

    title = plain(one[0]) != "" and (plain(one[0]), one[1]) == (plain(other[0]), other[1])
    return title or any(one[i] is not None and one[i] == other[i] for i in (2,))


@settings(max_examples=80, deadline=None)
@given(st.lists(video, min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_groups_are_the_closure_of_being_alike(rows, rng):
    group = list(range(len(rows)))
    for _ in rows:
        for i, j in combinations(range(len(rows)), 2):
            if alike(rows[i], rows[j]):
                group[i] = group[j] = min(group[i], group[j])
    ids = [f"v{i}" for i in range(len(rows))]
    table = pl.DataFrame(
        [(i, *r) for i, r in zip(ids, rows, strict=True)],
        schema={c: pl.String for c in ("video_id", "title", "creator_id", "media")},
        orient="row",
    )
    found = near_duplicates(table.sample(fraction=1, shuffle=True, seed=rng.randrange(99)))
    assert found["video_id"].to_list() == ids
    assert found.schema["group"] == pl.Int64
    numbers = found["group"].to_list()
    for i, j in combinations(range(len(rows)), 2):
        assert (numbers[i] == numbers[j]) == (group[i] == group[j])
    assert numbers[0] == 0 and set(numbers) == set(range(max(numbers) + 1))


def test_a_table_of_ids_alone_has_no_duplicates():
    table = pl.DataFrame({"video_id": ["b", "a"]})
    assert near_duplicates(table).rows() == [("a", 0), ("b", 1)]
