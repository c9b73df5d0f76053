"""The table: its numbers, its rendering, its bounds, its complaints."""

import json

import numpy as np
import polars as pl
import pytest

from m3tr.errors import InputError
from m3tr.evaluation import metrics
from m3tr.evaluation.bounds import check, to_json
from m3tr.evaluation.markdown import Header, number, to_markdown
from m3tr.evaluation.settings import Bounds, EvaluationSettings
from m3tr.evaluation.table import results


@pytest.fixture(scope="module")
def classes(examples):
    names = np.where(np.arange(60) < 40, "steady", "early surge")
    return examples.select("video_id").with_columns(pl.Series("class", names))


@pytest.fixture(scope="module")
def scores(predictions, examples, classes):
    return results(predictions, examples, classes, bootstrap=200)


def _own(predictions, row, label="increment", horizon=1):
    return predictions.filter(row=row, label=label, horizon=horizon).sort("video_id")


def test_scores_are_the_metrics_of_the_whole_test_set(scores, predictions):
    for row in ("mean", "ridge", "M3TR"):
        own = _own(predictions, row)
        y, y_hat = own["y"].to_numpy(), own["y_hat"].to_numpy()
        line = scores.headline("increment").row(by_predicate=pl.col("row") == row, named=True)
        assert line["nmse"] == pytest.approx(metrics.nmse(y, y_hat))
        assert line["src"] == pytest.approx(metrics.src(y, y_hat), nan_ok=True)
        assert line["mae"] == pytest.approx(metrics.mae(y, y_hat))
        if row != "mean":  # in a resample the mean of all videos scores more than one, never less
            assert line["nmse_lo"] <= line["nmse"] <= line["nmse_hi"]
    mean = scores.headline("total").row(by_predicate=pl.col("row") == "mean", named=True)
    assert mean["nmse"] == pytest.approx(1.0, abs=1e-12)


def test_class_scores_average_to_the_whole(scores):
    whole = scores.headline("total").filter(row="ridge")["nmse"][0]
    own = scores.select("total", "class").filter(row="ridge", horizon=1)
    assert (own["nmse"] * own["n"]).sum() / 60 == pytest.approx(whole)


def test_differences_are_paired_and_rows_keep_the_table_order(scores):
    head = scores.headline("increment")
    assert head["row"].to_list() == ["mean", "last count", "ridge", "M3TR"]
    nmse = dict(head.select("row", "nmse").iter_rows())
    line = head.row(by_predicate=pl.col("row") == "ridge", named=True)
    assert line["difference"] == pytest.approx(nmse["ridge"] - nmse["M3TR"])
    assert 0 < line["difference_lo"] < line["difference"] < line["difference_hi"]
    assert np.isnan(head.filter(row="M3TR")["difference"][0])


def test_json_is_plain_and_the_headline_is_the_last_horizon(scores):
    table = to_json(scores)
    text = json.dumps(table, allow_nan=False)
    assert json.loads(text) == table
    own = table["M3TR"]
    assert own["nmse"] == own["increment"]["horizons"][1]["nmse"]
    assert own["information"] == "CFR"
    assert table["mean"]["src"] is None
    assert [c["level"] for c in own["total"]["classes"]] == ["steady", "early surge"] * 2


def test_bounds(scores):
    table = to_json(scores)
    assert check(table, Bounds()) == []
    kept = check(table, Bounds(max_nmse=0.5, min_src=0.5, min_skill=0.1))
    assert [c["metric"] for c in kept] == ["nmse", "src", "skill"]
    assert all(c["ok"] for c in kept)
    assert kept[0]["value"] == table["M3TR"]["nmse"]
    broken = check(table, Bounds(max_nmse=1e-4, min_coverage=0.999))
    assert [(c["metric"], c["ok"]) for c in broken] == [("nmse", False), ("coverage", False)]
    assert not check(table, Bounds(min_src=-1), row="mean")[0]["ok"]  # not defined is not met
    assert not check(table, Bounds(max_nmse=9), row="absent")[0]["ok"]
    assert EvaluationSettings().bounds == Bounds()


def test_markdown_names_what_a_number_needs(scores):
    text = to_markdown(scores, Header("toy | set", "view"))
    for part in ("toy \\| set", "temporal", "Test videos: 60", "age 1 d", "3 d, 7 d", "200 resamp"):
        assert part in text
    rows = [line for line in text.splitlines() if line.startswith("| **M3TR** | CFR |")]
    assert len(rows) == 2  # one a label
    assert "batches of 256" not in text
    assert "batches of 256" in to_markdown(scores, Header("toy", "view"), batched=True)
    assert "nan" not in text.lower().replace("information", "")


def test_a_random_split_says_so(scores):
    text = to_markdown(scores, Header("toy", "view", "random", "creator_id"))
    assert "random, grouped by creator_id: test videos were published among" in text


def test_age_bands_where_ages_differ(predictions, examples):
    varied = examples.with_columns(age_days=pl.int_range(pl.len()).cast(pl.Float64) + 1)
    scores = results(predictions, varied, bootstrap=0)
    own = scores.select("increment", "age").filter(row="mean", horizon=0)
    assert own["n"].to_list() == [15, 15, 15, 15]
    assert own["nmse_lo"].is_nan().all()
    assert "none (bootstrap is 0)" in to_markdown(scores, Header("toy", "view"))


def test_mistakes_get_a_sentence(predictions, examples):
    with pytest.raises(InputError, match="no column y_hat"):
        results(predictions.drop("y_hat"), examples)
    with pytest.raises(InputError, match="test split is empty"):
        results(predictions.clear(), examples)
    with pytest.raises(InputError, match="not among the examples"):
        results(predictions, examples.head(10))
    less = predictions.filter(~((pl.col("row") == "ridge") & (pl.col("video_id") == "v003")))
    with pytest.raises(InputError, match="'ridge' does not forecast the same"):
        results(less, examples)
    broken = predictions.with_columns(y_hat=pl.lit(float("nan")))
    with pytest.raises(InputError, match="missing or infinite"):
        results(broken, examples)


def test_crps_and_its_interval(scores, predictions):
    head = scores.headline("increment")
    line = head.row(by_predicate=pl.col("row") == "M3TR", named=True)
    assert line["crps"] == pytest.approx(_own(predictions, "M3TR")["crps"].mean())
    assert line["crps_lo"] < line["crps"] < line["crps_hi"]
    assert head.filter(row="ridge")["crps"].is_nan().all()
    without = results(
        predictions.drop("crps"),
        predictions.select("video_id").unique().with_columns(age_days=pl.lit(1.0)),
        bootstrap=0,
    )
    assert without.scores["crps"].is_nan().all()


def test_deciles_are_of_the_rows_own_forecasts(scores, predictions):
    own = _own(predictions, "M3TR").sort("y_hat")
    y, lo, hi = (own[c].to_numpy() for c in ("y", "lo", "hi"))
    tenths = scores.select("increment", "decile").filter(row="M3TR", horizon=1)
    assert tenths["level"].to_list() == [str(k) for k in range(1, 11)]
    assert tenths["n"].to_list() == [6] * 10
    by_hand = [np.mean((lo <= y)[i : i + 6] & (y <= hi)[i : i + 6]) for i in range(0, 60, 6)]
    assert tenths["coverage"].to_list() == pytest.approx(by_hand)
    whole = scores.headline("increment").filter(row="M3TR")
    for name in ("nmse", "crps", "coverage", "width"):
        assert (tenths[name] * tenths["n"]).sum() / 60 == pytest.approx(whole[name][0])


def test_a_constant_forecast_has_no_deciles(scores, predictions, examples):
    assert scores.select("total", "decile").filter(row="mean").is_empty()
    few = predictions.filter(pl.col("video_id") < "v009")
    assert results(few, examples, bootstrap=0).select("total", "decile").is_empty()


def test_coverage_by_decile_is_printed_where_there_are_intervals(predictions, examples):
    told = results(predictions, examples, bootstrap=0, nominal=0.8)
    text = to_markdown(told, Header("toy", "view"))
    assert text.count("### Coverage by decile of the row's own forecasts") == 2
    assert "intervals of 80 %" in text
    assert [len(r["total"]["deciles"]) for r in to_json(told).values()] == [0, 20, 20, 20]
    bare = to_markdown(results(predictions.drop("lo", "hi"), examples), Header("toy", "view"))
    assert "Coverage by decile" not in bare


def test_numbers_are_short():
    assert [number(x) for x in (0.12345, 0.00123, 0.0, float("nan"), None, -1.5)] == [
        "0.123", "0.0012", "0.000", "–", "–", "-1.500",
    ]  # fmt: skip
