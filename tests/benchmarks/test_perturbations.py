"""Perturbed videos: what changes, by how much, and that nothing else does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m3tr.data.settings import TaskSettings
from m3tr.data.windows import labelled
from m3tr.features.store import Features

REPOSITORY = Path(__file__).resolve().parents[2]
START = datetime(2025, 1, 1, tzinfo=UTC)
AGE = timedelta(days=1)
TASK = TaskSettings.model_validate({"observe": {"age": "1d"}, "horizons": ["2d", "4d"]})
COLUMNS = ["video_id", "time", "kind", "count"]


@pytest.fixture
def perturb(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import perturbations

    return perturbations


@pytest.fixture
def videos() -> pl.DataFrame:
    n = 30
    return pl.DataFrame(
        {
            "video_id": [f"v{i:02d}" for i in range(n)],
            "published_at": [START + timedelta(hours=7 * i) for i in range(n)],
            "title": [f"title {i}" for i in range(n)],
            "creator_id": [f"c{i % 4}" for i in range(n)],
            "category": ["a", "b"] * (n // 2),
            "followers": list(range(n)),
            "verified": [True, False] * (n // 2),
        },
        schema_overrides={"published_at": pl.Datetime("us", "UTC")},
    )


def feedback_of(videos: pl.DataFrame, counters: bool) -> pl.DataFrame:
    """Events at random ages up to 5 days, or readings every six hours; video v00 has none."""
    rng = np.random.default_rng(5)
    rows = []
    for video, published in videos.select("video_id", "published_at").iter_rows():
        if video == "v00":
            continue
        for kind, mean in (("view", 60), ("like", 9)):
            if counters:
                ages = np.arange(6, 126, 6) * 3600.0
                counts = rng.poisson(mean, len(ages))
            else:
                ages = rng.uniform(0, 5 * 86_400, rng.poisson(mean))
                counts = np.ones(len(ages), int)
            rows += [
                (video, published + timedelta(seconds=float(a)), kind, int(c))
                for a, c in zip(ages, counts, strict=True)
                if c
            ]
    schema = {"time": pl.Datetime("us", "UTC"), "count": pl.Int64}
    return pl.DataFrame(rows, schema=COLUMNS, orient="row", schema_overrides=schema)


def examples_of(videos: pl.DataFrame, feedback: pl.DataFrame) -> pl.DataFrame:
    return labelled(videos, feedback, TASK, START + timedelta(days=99))[0]


def by_video(rows: pl.DataFrame, kind: str) -> dict[str, int]:
    sums = rows.filter(pl.col("kind") == kind).group_by("video_id").agg(pl.col("count").sum())
    return dict(sums.iter_rows())


@pytest.mark.parametrize("counters", [False, True])
@pytest.mark.parametrize("kind", ["view", "like", "share"])
@pytest.mark.parametrize("shape", ["bots", "burst"])
def test_fakes_are_exact_inside_the_window_and_leave_labels_as_they_are(
    perturb, videos, counters, kind, shape
) -> None:
    feedback = feedback_of(videos, counters)
    examples = examples_of(videos, feedback)
    victims = examples[5:25]
    attack = perturb.Attack(shape, kind, 0.3)
    found = perturb.with_fakes(feedback, victims, attack, "view", counters, 1)

    clocks = victims.select("video_id", "published_at", "observed_at")
    before, after = (t.join(clocks, on="video_id") for t in (feedback, found))
    window = pl.col("time").is_between("published_at", "observed_at", closed="right")
    truth, now = (by_video(t.filter(window), kind) for t in (before, after))
    views = by_video(before.filter(window), "view")
    for video in victims["video_id"]:
        more = int(np.floor(0.3 * views.get(video, 0) + 0.5))
        assert now.get(video, 0) - truth.get(video, 0) == more
    assert sum(now.values()) > sum(truth.values())

    # nothing after a clock, no other kind, no other video
    others = ~pl.col("video_id").is_in(victims["video_id"].to_list()) | (pl.col("kind") != kind)
    assert found.filter(others).equals(feedback.filter(others))
    assert after.filter(~window).equals(before.filter(~window))
    assert examples_of(videos, found)["increment"].equals(examples["increment"])
    assert found.schema == feedback.schema
    if not counters:
        assert found.head(len(feedback)).equals(feedback)
        fakes = found.tail(len(found) - len(feedback)).join(clocks, on="video_id")
        assert set(fakes["count"]) == {1}
        age = fakes.select(pl.col("time") - pl.col("published_at")).to_series() / AGE
        assert age.min() > (23 / 24 if shape == "burst" else 0)
        if shape == "bots":  # uniform: mean 1/2, within four standard errors
            assert abs(age.mean() - 0.5) < 4 / np.sqrt(12 * len(age))
    else:
        old = set(before.filter(window).select("video_id", "time").iter_rows())
        assert set(after.filter(window).select("video_id", "time").iter_rows()) == old


def test_a_burst_in_counters_is_in_the_last_reading_before_the_clock(perturb, videos) -> None:
    feedback = feedback_of(videos, counters=True)
    examples = examples_of(videos, feedback)
    found = perturb.with_fakes(
        feedback, examples, perturb.Attack("burst", "view", 0.5), "view", True, 1
    )
    changed = found.join(feedback, on=COLUMNS, how="anti")
    ages = changed.join(videos, on="video_id").select(pl.col("time") - pl.col("published_at"))
    assert set(ages.to_series()) == {AGE}


def test_bots_in_counters_come_as_fast_as_time_passes_however_many(perturb, videos) -> None:
    ages = [6, 8, 20, 40]  # hours; the clock is at 24
    rows = [("v01", videos["published_at"][1] + timedelta(hours=h), "view", 10**9) for h in ages]
    feedback = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    feedback = feedback.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    examples = examples_of(videos, feedback)
    attack = perturb.Attack("bots", "view", 0.5)
    found = perturb.with_fakes(feedback, examples, attack, "view", True, 1)
    share = (found["count"] - feedback["count"]).to_numpy() / 1.5e9
    # what comes after the last reading by the clock counts in it
    assert share == pytest.approx(np.array([6, 2, 16, 0]) / 24, abs=1e-4)
    assert share.sum() == pytest.approx(1, abs=1e-12)


def test_only_one_of_equal_readings_is_raised(perturb, videos) -> None:
    feedback = feedback_of(videos, counters=True)
    twice = pl.concat([feedback, feedback])
    examples = examples_of(videos, twice)
    found = perturb.with_fakes(
        twice, examples, perturb.Attack("burst", "view", 0.5), "view", True, 1
    )
    fakes = found["count"].sum() - twice["count"].sum()
    assert fakes == sum(int(np.floor(0.5 * n + 0.5)) for n in examples["observed"])
    assert len(found) == len(twice)


@pytest.mark.parametrize("counters", [False, True])
def test_fakes_depend_on_the_seed_alone(perturb, videos, counters) -> None:
    feedback = feedback_of(videos, counters)
    examples = examples_of(videos, feedback)
    attack = perturb.Attack("bots", "view", 0.5)

    def attacked(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        found = perturb.with_fakes(rows, examples.reverse(), attack, "view", counters, seed)
        return found.sort(COLUMNS)

    first = attacked(feedback, 1)
    assert first.equals(attacked(feedback.sample(fraction=1, shuffle=True, seed=3), 1))
    assert not first.equals(attacked(feedback, 2))


def test_no_share_and_no_window_change_nothing(perturb, videos) -> None:
    feedback = feedback_of(videos, counters=False)
    examples = examples_of(videos, feedback)
    cold = examples.with_columns(observed_at=pl.col("published_at"))
    for victims, share in ((examples, 0.0), (cold, 0.5), (examples[:0], 0.5)):
        attack = perturb.Attack("burst", "view", share)
        assert perturb.with_fakes(feedback, victims, attack, "view", False, 1).equals(feedback)


def test_mixed_fakes_meet_a_part_of_the_videos_once(perturb, videos) -> None:
    feedback = feedback_of(videos, counters=False)
    examples = examples_of(videos, feedback).filter(pl.col("observed") > 3)
    attacks = [perturb.Attack("bots", "view", 0.5), perturb.Attack("burst", "like", 0.5)]
    found = perturb.with_mixed_fakes(feedback, examples, attacks, 0.5, "view", False, 1)
    fakes = found.tail(len(found) - len(feedback))
    met = {k: set(fakes.filter(pl.col("kind") == k)["video_id"]) for k in ("view", "like")}
    assert not met["view"] & met["like"]
    assert len(met["view"] | met["like"]) == round(0.5 * len(examples))
    assert abs(len(met["view"]) - len(met["like"])) <= 1


def test_without_feedback_only_what_a_query_may_use_goes(perturb, videos) -> None:
    feedback = feedback_of(videos, counters=False)
    examples = examples_of(videos, feedback)
    found = perturb.without_feedback(feedback, examples[:20])
    again = examples_of(videos, found)
    assert again["observed"][:20].sum() == 0
    assert again["observed"][20:].equals(examples["observed"][20:])
    assert again["increment"].equals(examples["increment"])
    assert found.join(feedback, on=COLUMNS, how="anti").is_empty()


def test_a_missing_modality_is_masked_and_the_others_stay(perturb, videos) -> None:
    rng, n = np.random.default_rng(1), len(videos)
    tokens = {m: rng.normal(size=(n, 2, 3)).astype(np.float32) for m in ("visual", "text")}
    whole = Features(
        videos["video_id"].to_list(), tokens, {m: np.ones((n, 2), bool) for m in tokens}
    )
    table, features = perturb.without_modalities(videos, whole, ["text"])
    assert not features.mask["text"].any() and not features.tokens["text"].any()
    assert features.tokens["visual"] is whole.tokens["visual"] and whole.mask["text"].all()
    assert table["title"].null_count() == n
    assert table.drop("title").equals(videos.drop("title"))
    table, features = perturb.without_modalities(videos, whole, ["visual"])
    assert table.equals(videos) and not features.mask["visual"].any()


def test_without_metadata_identity_and_text_stay(perturb, videos) -> None:
    found = perturb.without_metadata(videos)
    kept = ["video_id", "published_at", "title", "creator_id"]
    assert found.select(kept).equals(videos.select(kept))
    assert found.drop(kept).null_count().row(0) == (len(videos),) * 3
    assert found.schema == videos.schema
