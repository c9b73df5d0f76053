"""Scores over folds, ratios and the page of results, on forecasts with known answers."""

from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import scores

    return scores


def fold(scores, factors, seed=0, n=40, ids="v", crps=None):
    """A fold in which the error of each row is `factor` times the same noise."""
    rng = np.random.default_rng(seed)
    y, noise = rng.normal(8, 2, (2, n)), rng.normal(0, 1, (2, n))
    parts = []
    for row, factor in factors.items():
        for horizon in (0, 1):
            y_hat = y[horizon] + factor * noise[horizon]
            ours = row == "M3TR"
            parts.append(
                pl.DataFrame(
                    {
                        "row": row,
                        "information": "CFR" if ours else "CF",
                        "video_id": [f"{ids}{i}" for i in range(n)],
                        "label": "increment",
                        "horizon": horizon,
                        "horizon_days": 2.0 + horizon,
                        "y": y[horizon],
                        "y_hat": y_hat,
                        "lo": y_hat - 1.0 if ours else None,
                        "hi": y_hat + 1.0 if ours else None,
                    },
                    schema_overrides={"lo": pl.Float64, "hi": pl.Float64},
                )
            )
    videos = pl.DataFrame(
        {
            "video_id": [f"{ids}{i}" for i in range(n)],
            "age_days": [float(i) for i in range(n)],
            "class": ["steady"] * (n - 6) + ["sparse"] * 6,
            "unseen": [False] * n,
            "new_creator": [i % 2 == 0 for i in range(n)],
        }
    )
    result = {
        "crps": crps or {},
        "examples": {"train": 5, "validation": 5, "test": n},
        "seconds": {},
        "settings": {"name": "any", "task": {"split": "random"}, "train": {"coverage": 0.9}},
    }
    return scores.Fold(pl.concat(parts), videos, result)


FACTORS = {"mean": 2.0, "LightGBM CF": 0.5, "M3TR": 0.25}


def test_a_row_is_summed_up_over_the_folds(scores: ModuleType) -> None:
    folds = [fold(scores, FACTORS, 1, crps={"M3TR": 0.2}), fold(scores, FACTORS, 2, ids="w")]
    out = scores.summary(folds)
    each = [scores.fold_scores(f.forecasts)["M3TR"]["increment"][-1]["nmse"] for f in folds]
    assert out["M3TR"]["nmse"] == pytest.approx(np.mean(each))
    assert out["M3TR"]["nmse_sd"] == pytest.approx(np.std(each, ddof=1))
    assert out["M3TR"]["coverage"] == pytest.approx(1.0)
    assert out["M3TR"]["width"] == pytest.approx(2.0)
    assert out["M3TR"]["crps"] is None  # one fold has none
    assert out["M3TR"]["total_nmse"] is None
    assert out["mean"]["coverage"] is None
    # the error of a row is a multiple of that of another
    assert out["LightGBM CF"]["nmse"] == pytest.approx(4 * out["M3TR"]["nmse"])
    assert scores.summary(folds[:1])["M3TR"]["nmse_sd"] is None


def test_a_row_that_a_fold_lacks_is_left_out(scores: ModuleType) -> None:
    folds = [fold(scores, FACTORS, 1), fold(scores, {"M3TR": 0.25}, 2)]
    assert list(scores.rows_of(folds)) == ["M3TR"]


def test_ratios_are_those_of_the_means_and_are_paired(scores: ModuleType) -> None:
    folds = [fold(scores, FACTORS, 1), fold(scores, FACTORS, 2, ids="w")]
    rows, errors = scores.headline_errors(folds)
    assert errors.shape == (80, 3)
    means = {row: s["nmse"] for row, s in scores.summary(folds).items()}
    assert dict(zip(rows, errors.sum(0), strict=True)) == pytest.approx(means)
    found = scores.ratios(folds, resamples=200)
    assert {row: {*others} for row, others in found.items()} == {
        "mean": {"LightGBM CF"}, "LightGBM CF": {"LightGBM CF"}, "M3TR": {*FACTORS}
    }  # fmt: skip
    ratio, lo, hi = found["M3TR"]["LightGBM CF"]
    # errors that are proportional have a ratio without any spread, unless draws are not shared
    assert (ratio, lo, hi) == pytest.approx((0.25, 0.25, 0.25))


def test_a_video_of_several_folds_is_drawn_as_one(scores: ModuleType) -> None:
    folds = [fold(scores, FACTORS, 1), fold(scores, FACTORS, 1)]
    _, errors = scores.headline_errors(folds)
    assert len(errors) == 40
    assert errors.sum() == pytest.approx(scores.headline_errors(folds[:1])[1].sum())


def test_groups_average_to_the_whole(scores: ModuleType) -> None:
    folds = [fold(scores, FACTORS, 1), fold(scores, FACTORS, 2, ids="w")]
    found = scores.groups(folds, ["M3TR", "LightGBM CF"])
    everyone = [line for line in found if line["group"] == "all"]
    nmse = scores.summary(folds)["M3TR"]["nmse"]
    assert [line["horizon"] for line in everyone] == [0, 1]
    assert everyone[1]["nmse"]["M3TR"] == pytest.approx(nmse)
    for group, levels in (("age", 4), ("forecast", 10), ("class", 2), ("creator", 2)):
        own = [line for line in found if line["group"] == group and line["horizon"] == 1]
        assert len(own) == levels
        assert sum(line["n"] for line in own) == 80
        total = sum(line["n"] * line["nmse"]["M3TR"] for line in own) / 80
        assert total == pytest.approx(nmse)
    assert not [line for line in found if line["group"] == "seen"]  # nobody is unseen


def test_means_over_tasks(scores: ModuleType) -> None:
    def task(ours: float, rival: float, about: float, simulated: bool = False) -> dict:
        ratio = ours / rival
        return {
            "rows": {"M3TR": {"nmse": ours}, "ridge": {"nmse": rival}, "best attainable": {}},
            "ratios": {"M3TR": {"M3TR": [1, 1, 1], "ridge": [ratio, ratio - about, ratio + about]}},
            "simulated": simulated,
        }

    alone = {"rows": {"M3TR": {"nmse": 1.0}}, "ratios": {}, "simulated": False}
    tasks = {"a": task(0.2, 0.4, 0.1), "b": task(0.4, 0.2, 0.1), "c": alone}
    expected = {"tasks": 2, "geometric": 1.0, "real": 1.0, "arithmetic": 1.25}
    counts = {"better": 1, "clearly_better": 1, "clearly_worse": 1}
    assert scores.across(tasks) == {"ridge": pytest.approx(expected | counts)}
    tasks |= {"d": task(0.1, 0.8, 1.0, simulated=True)}
    expected = {"tasks": 3, "geometric": 0.5, "real": 1.0, "arithmetic": 2.625 / 3}
    assert scores.across(tasks) == {"ridge": pytest.approx(expected | counts | {"better": 2})}
    only = scores.across({"d": tasks["d"]})["ridge"]
    assert only["real"] is None and only["clearly_better"] == 0


def test_the_page_shows_what_is_there(scores: ModuleType) -> None:
    from benchmarks.results import of_task
    from benchmarks.results_page import page
    from benchmarks.tasks import TASKS

    folds = [fold(scores, FACTORS, 1), fold(scores, FACTORS, 2, ids="w")]
    task = of_task(TASKS["Y1"], folds)
    found = {"quick": False, "tasks": {"Y1": task}, "across": scores.across({"Y1": task})}
    text = page(found)
    nmse, sd = task["rows"]["M3TR"]["nmse"], task["rows"]["M3TR"]["nmse_sd"]
    assert f"| **M3TR** | CFR | {nmse:.4f} ± {sd:.4f} |" in text
    assert "| LightGBM CF | 0.250 | 0.250 | 0.250 | 1 of 1 | 1 | 0 |" in text
    assert "0.250 [0.250, 0.250]" in text
    assert "| Y1 | 0.900 | 1.000 | 1.00 |" in text  # nominal coverage, and the intervals' own
    assert "Noise floor" not in text and "Ablations" not in text and "Quick" not in text
    assert all(len(line) < 400 for line in text.splitlines())
    assert "Nothing has been run" in page({"quick": False, "tasks": {}, "across": {}})


def test_what_was_found_is_one_run_of_mlflow(
    scores: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.results import of_task, track
    from benchmarks.tasks import TASKS
    from m3tr.registry.connection import connect

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    page = tmp_path / "results.md"
    page.write_text("# Results")
    tasks = {"Y1": of_task(TASKS["Y1"], [fold(scores, FACTORS, 1)])}
    varied = {"mean": {"-text": {"validation": 1.5, "test": 1.25}}}
    found = {"quick": True, "tasks": tasks, "ablations": varied}
    track(tmp_path, found, [page], {"git_commit": "abc"})
    connect(tmp_path)
    import mlflow

    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.data.metrics["Y1.M3TR.nmse"] == pytest.approx(tasks["Y1"]["rows"]["M3TR"]["nmse"])
    assert run.data.metrics["ablations.-text.test"] == 1.25
    assert run.data.params["quick"] == "True"
    assert (run.data.tags["git_commit"], run.data.tags["dataset"]) == ("abc", "youtube-2021")
    assert [file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == [
        "results.md"
    ]


@pytest.mark.parametrize("n", [20, 65, 130, 1000])
def test_one_decile_in_twenty_is_beyond_chance(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.results_page import beyond_chance

    covered = np.random.default_rng(0).binomial(n, 0.8, 4000)
    share = np.mean([beyond_chance(k / n, n, 0.8) for k in covered])
    assert 0.01 < share < 0.06
    assert beyond_chance(0.5, n, 0.8) and not beyond_chance(0.8, n, 0.8)
