"""The front door: frames in, frames out, equal to what the tensor layer computes."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from m3tr import hawkes
from m3tr.errors import InputError
from m3tr.hawkes import HawkesSettings, PointProcess
from m3tr.hawkes.likelihood import log_likelihood
from m3tr.hawkes.thinning import simulate_paths

SMALL = HawkesSettings(scales=2, width=8, state=4, layers=1, knots=3, epochs=2, batch_size=8)
CLASSICAL = SMALL.model_copy(update={"context": False})
GIVEN = CLASSICAL.model_copy(update={"decays": [0.1, 1.0], "scales": 2})


@pytest.fixture(scope="module")
def truth() -> PointProcess:
    offspring = [[[0.4, 0.2], [0.0, 0.3]]]
    return PointProcess.known([4.0, 2.0], offspring, [0.1], ["like", "view"])


@pytest.fixture(scope="module")
def windows() -> pl.DataFrame:
    return pl.DataFrame({"sequence": [f"v{i}" for i in range(40)], "end": [3.0] * 40})


@pytest.fixture(scope="module")
def frame(truth, windows) -> pl.DataFrame:
    return truth.simulate(windows, seed=1)


@pytest.fixture(scope="module")
def fitted(frame, windows) -> PointProcess:
    return hawkes.fit(frame, CLASSICAL, windows)


@pytest.fixture(scope="module")
def neural(frame, windows) -> PointProcess:
    return hawkes.fit(frame, SMALL, windows)


def test_settings_are_read_without_torch():
    code = "import sys, m3tr.hawkes as h; h.HawkesSettings(); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
    assert set(hawkes.__all__) <= set(dir(hawkes)) and callable(hawkes.fit)
    with pytest.raises(AttributeError, match="nothing"):
        _ = hawkes.nothing


def test_the_log_likelihood_is_the_tensor_layers_and_keeps_the_order_of_rows(neural, build):
    events = build.events((4, 0, 9), kinds=("like", "view"))
    rows = [
        {"sequence": i, "time": t, "kind": ["like", "view"][k], "count": c}
        for i in range(3)
        for t, k, c, on in zip(
            *(getattr(events, f)[i].tolist() for f in ("time", "kind", "count", "mask")),
            strict=True,
        )
        if on
    ]
    frame = pl.DataFrame(rows).sample(fraction=1, shuffle=True, seed=3)
    windows = pl.DataFrame({"sequence": [0, 1, 2], "end": events.end.numpy()})
    found = neural.log_likelihood(frame, windows)
    with torch.no_grad():
        known = log_likelihood(neural.model, events)
    assert np.allclose(found.sequences["log_likelihood"], known.total)
    assert found.sequences["n_events"].to_list() == [4, 0, 9]
    assert_frame_equal(found.events.drop("log_intensity"), frame.drop("count"))
    ordered = found.events.sort("sequence", "time")["log_intensity"]
    assert np.allclose(ordered, known.event[events.mask])
    assert found.total == pytest.approx(float(known.total.sum()))
    assert found.per_event == pytest.approx(found.total / 13)


def test_events_at_the_start_condition_and_have_no_term(fitted):
    frame = pl.DataFrame({"sequence": [1, 1], "time": [0.0, 1.0], "kind": ["like", "view"]})
    found = fitted.log_likelihood(frame)
    assert found.events["log_intensity"].is_null().to_list() == [True, False]
    assert found.n_events == 1


def test_the_origin_of_time_does_not_matter(neural, frame, windows):
    later = frame.with_columns(pl.col("time") + 1000.0)
    moved = windows.with_columns(pl.lit(1000.0).alias("start"), pl.col("end") + 1000.0)
    one, two = neural.log_likelihood(frame, windows), neural.log_likelihood(later, moved)
    assert one.total == pytest.approx(two.total, rel=1e-8)
    first, second = (
        neural.intensity(frame, [1.0], windows),
        neural.intensity(later, [1001.0], moved),
    )
    assert np.allclose(first["intensity"], second["intensity"], rtol=1e-6)
    ahead = neural.continuations(later.head(9), 1.0, moved.head(1), paths=3)
    assert ahead["time"].min() > 1003.0 and ahead["time"].max() <= 1004.0


def test_intensities_are_left_limits_and_sum_up(neural, frame, windows):
    terms = neural.log_likelihood(frame, windows).events.filter(pl.col("sequence") == "v3")
    own = frame.filter(pl.col("sequence") == "v3")
    at = neural.intensity(own, own["time"], windows.filter(pl.col("sequence") == "v3"))
    both = terms.join(at, on=["sequence", "time", "kind"], how="inner")
    assert len(both) == len(own)
    assert np.allclose(both["intensity"].log(), both["log_intensity"], atol=1e-6)
    parts = at.select("background", "excitation", "softplus")
    assert (
        np.allclose(parts.sum_horizontal(), at["intensity"]) and (parts.min_horizontal() >= 0).all()
    )
    with pytest.raises(InputError, match="before the start"):
        neural.intensity(own, [-1.0])


def test_a_classical_fit_finds_the_truth_within_its_errors(fitted, truth):
    table = fitted.standard_errors
    mu = table.filter(pl.col("parameter") == "mu")
    assert (np.abs(mu["value"].to_numpy() - [4.0, 2.0]) < 4 * mu["error"].to_numpy()).all()
    assert table.filter(pl.col("parameter") == "beta")["value"].is_not_null().all()
    matrix = fitted.branching_matrix
    assert matrix.columns == ["receiver", "like", "view"]
    assert np.abs(matrix.drop("receiver").to_numpy() - [[0.4, 0.2], [0.0, 0.3]]).max() < 0.15
    assert truth.branching_ratio == pytest.approx(0.4)
    assert abs(fitted.branching_ratio - 0.4) < 0.15


def test_errors_are_known_for_fitted_classical_processes_only(neural, truth):
    for process in (neural, truth):
        with pytest.raises(InputError, match="context=False"):
            _ = process.standard_errors


def test_penalties_find_zeros(frame, windows):
    fits = [
        hawkes.fit(frame, GIVEN, windows, penalty=name, strength=strength)
        for name, strength in [("none", None), ("lasso", 0.01), ("scad", None), ("lasso", 10.0)]
    ]
    active = [int((f.model.alpha > 0).sum()) for f in fits]
    assert active[0] >= active[1] >= active[2] > active[3] == 0
    held = [f"v{i}" for i in range(5)]
    tuned = hawkes.fit(frame, GIVEN, windows, penalty="mcp", held=held)
    assert tuned.estimate is not None and tuned.estimate.penalty == "mcp"


def test_held_sequences_choose_the_epoch_and_are_not_trained_on(frame, windows):
    def fit(changed: str, time: pl.Expr, kind: pl.Expr, count: float) -> dict[str, torch.Tensor]:
        here = pl.col("sequence").is_in(changed.split())
        other = frame.with_columns(
            pl.when(here).then(time).otherwise("time").alias("time"),
            pl.when(here).then(kind).otherwise("kind").alias("kind"),
            pl.when(here).then(count).otherwise(1.0).alias("count"),
        )
        settings = SMALL.model_copy(update={"epochs": 1})
        return hawkes.fit(other, settings, windows, held=["v1", "v2"]).model.state_dict()

    def moved(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> set[str]:
        return {name for name in one if not torch.equal(one[name], two[name])}

    time, kind = pl.col("time"), pl.col("kind")
    known = fit("", time, kind, 1.0)
    # held data that keep the epoch change nothing, however far they are from the others
    assert not moved(known, fit("v1 v2", time / 100, pl.lit("like"), 7.0))
    # held data that choose the start over the epoch change what is trained, and only that
    undone = moved(known, fit("v1 v2", time / 100, pl.lit("view"), 1.0))
    measured = {"knots", "beta", "mean_weight", "mean_count"}
    assert {"log_mu", "alpha"} <= undone and measured <= set(known) - undone
    # the same in a training sequence shows in all of them
    assert measured | {"log_mu", "alpha"} <= moved(
        known, fit("v3", time / 100, pl.lit("like"), 7.0)
    )


def test_forecasts_say_what_their_mean_is(fitted, neural, frame, windows):
    some = pl.col("sequence").is_in(["v0", "v1"])
    args = (frame.filter(some), [2.0, 0.5], windows.filter(some))
    exact = fitted.forecast(*args, quantiles=(0.25, 0.75), paths=4000, seed=2)
    assert exact["method"].unique().to_list() == ["exact"]
    assert exact.columns == ["sequence", "lead", "kind", "mean", "q0.25", "q0.75", "method"]
    assert exact["lead"].to_list() == [2.0, 2.0, 0.5, 0.5] * 2
    assert exact["kind"].to_list() == ["like", "view"] * 4
    assert (exact["q0.25"] <= exact["q0.75"]).all()
    plain = fitted.forecast(*args, quantiles=())
    assert_frame_equal(plain, exact.select(plain.columns))
    simulated = neural.forecast(*args, paths=500)
    assert simulated["method"].unique().to_list() == ["simulated"]
    plug_in = neural.forecast(*args, quantiles=())
    assert plug_in["method"].unique().to_list() == ["plug-in"]
    assert np.allclose(plug_in["mean"], simulated["mean"], rtol=0.25)  # the same quantity


def test_quantiles_and_exact_means_agree_with_continuations(fitted, frame, windows):
    one = pl.col("sequence") == "v0"
    args = (frame.filter(one), 2.0, windows.filter(one))
    paths = fitted.continuations(*args, paths=4000, seed=3)
    number = paths.group_by("path", "kind").len().pivot(on="kind", index="path").fill_null(0)
    number = pl.DataFrame({"path": range(4000)}).join(number, on="path", how="left").fill_null(0)
    found = fitted.forecast(args[0], [2.0], args[2], quantiles=(0.1, 0.9), paths=4000, seed=3)
    for kind, mean, low, high in found.select("kind", "mean", "q0.1", "q0.9").rows():
        count = number[kind].to_numpy()
        assert abs(count.mean() - mean) < 3.5 * count.std() / np.sqrt(4000)
        levels = np.quantile(count, [0.1, 0.9], method="inverted_cdf")
        assert (levels == [low, high]).all()


def test_simulated_counts_are_those_of_the_data(frame, windows):
    marked = frame.with_columns(
        pl.when(pl.col("kind") == "view").then(pl.int_range(pl.len()) % 7 + 1).otherwise(2)
        .cast(pl.Int64).alias("count")
    )  # fmt: skip
    process = hawkes.fit(marked, CLASSICAL, windows)
    new = process.simulate(30, end=3.0, seed=4)
    assert set(new.filter(pl.col("kind") == "like")["count"]) == {2.0}
    views = new.filter(pl.col("kind") == "view")["count"]
    assert set(views) == set(range(1, 8)) and abs(views.mean() - 4) < 4 * 2 / np.sqrt(len(views))
    one = process.forecast(marked, [1.0], windows, quantiles=(), of="events")
    all_of_it = process.forecast(marked, [1.0], windows, quantiles=(), of="counts")
    ratio = (all_of_it["mean"] / one["mean"]).to_numpy()
    assert all_of_it["method"][0] == "plug-in" and np.allclose(ratio[::2], 2.0)
    summed = process.forecast(marked, [1.0], windows, paths=300, of="counts")
    assert summed["method"][0] == "simulated"
    assert summed["mean"].sum() == pytest.approx(all_of_it["mean"].sum(), rel=0.05)


def test_forecasts_of_counts_are_exact_only_where_the_history_counts_ones(truth, frame, windows):
    marked = frame.with_columns(pl.lit(3.0).alias("count"))
    for events, of, method in [
        (frame, "counts", "exact"),
        (marked, "events", "exact"),
        (marked, "counts", "plug-in"),
    ]:
        assert truth.forecast(events, [1.0], windows, (), of=of)["method"][0] == method
    drawn = truth.forecast(marked, [1.0], windows, (0.5,), 50, of="counts")
    assert drawn["method"][0] == "simulated"


@pytest.mark.parametrize("n", [1000, 1001, 1500, 5002])
@pytest.mark.parametrize("tail", [True, False])
def test_counts_to_draw_from_keep_the_mean_however_heavy_the_tail(n, tail):
    count = np.ones(n)
    count[:2] = 1e6
    if tail:
        count = np.random.default_rng(1).pareto(1.1, n) + 1
    times = np.random.default_rng(2).uniform(0, 50, n)
    frame = pl.DataFrame({"sequence": ["a"] * n, "time": times, "kind": ["x"] * n, "count": count})
    found = hawkes.fit(frame, GIVEN.model_copy(update={"classical": False})).marks[0]
    assert len(found) == 1000 and found.mean() == pytest.approx(count.mean())
    assert (np.diff(found) >= 0).all() and found[0] >= count.min() and found[-1] <= count.max()
    assert tail or set(found[:990]) == {1.0}
    plain = hawkes.fit(frame.drop("count"), GIVEN.model_copy(update={"classical": False}))
    assert plain.marks[0].tolist() == [1.0]


def test_simulations_are_functions_of_the_seed_and_the_sequence(truth, windows):
    one, two = truth.simulate(windows, seed=5), truth.simulate(windows, seed=5)
    other = truth.simulate(windows, seed=6)
    assert one.equals(two) and not one.equals(other)
    few = truth.simulate(windows.head(3), seed=5)
    assert few.equals(one.head(len(few)))
    numbered = truth.simulate(3, end=3.0, seed=5)
    assert numbered["time"].equals(few["time"]) and numbered["sequence"].dtype == pl.Int64
    later = windows.with_columns(pl.lit(10.0).alias("start"), pl.col("end") + 10.0)
    assert np.allclose(truth.simulate(later, seed=5)["time"], one["time"] + 10.0)


def test_residuals_hold_on_new_data_and_are_drawn(truth, fitted, frame, windows, tmp_path):
    new = truth.simulate(windows, seed=9)
    residuals = fitted.residuals(new, windows)
    table = residuals.ks()
    assert table.columns == ["kind", "n", "statistic", "pvalue"]
    assert table["n"].sum() == len(new) and (table["pvalue"] > 1e-3).all()
    assert len(residuals["view"]) == table["n"][1]
    residuals.plot_qq(tmp_path / "qq.png")
    assert (tmp_path / "qq.png").stat().st_size > 5000
    with pytest.raises(InputError, match="not one of"):
        residuals["share"]
    only = fitted.residuals(new.filter(pl.col("kind") == "view"), windows)
    assert only.ks()["pvalue"].is_null().to_list() == [True, False]


@pytest.mark.parametrize("name", ["fitted", "neural", "truth"])
def test_save_and_load(name, request, frame, windows, tmp_path):
    process = request.getfixturevalue(name)
    process.save(tmp_path)
    again = PointProcess.load(tmp_path)
    assert again.kinds == process.kinds
    one, two = process.log_likelihood(frame, windows), again.log_likelihood(frame, windows)
    assert_frame_equal(one.events, two.events, check_exact=True)
    assert process.simulate(2, end=1.0).equals(again.simulate(2, end=1.0))
    if name == "fitted":
        assert process.standard_errors.equals(again.standard_errors)
    with pytest.raises(InputError, match=r"PointProcess\.save"):
        PointProcess.load(tmp_path / "none")


def test_integers_come_back_as_integers():
    process = PointProcess.known([1.0, 2.0], [[0.1, 0.2], [0.0, 0.0]], [1.0], [7, 3])
    frame = process.simulate(pl.DataFrame({"sequence": [9, 4], "end": [5.0, 5.0]}), seed=1)
    assert frame["kind"].dtype == pl.Int64 and set(frame["sequence"]) == {9, 4}
    assert process.branching_matrix.columns == ["receiver", "7", "3"]
    found = hawkes.fit(frame, CLASSICAL)
    assert found.kinds == [3, 7] and found.forecast(frame, [1.0])["kind"].to_list() == [3, 7] * 2
    assert found.standard_errors["receiver"].dtype == pl.Int64


def test_attention_cannot_be_simulated_and_says_so(build):
    model = build.neural(encoder="transformer", width=8)
    assert torch.isfinite(log_likelihood(model, build.events((0,))).total).all()
    with pytest.raises(InputError, match="encoder="):
        next(simulate_paths(model, build.events((3,)), np.array([4.0]), 1, seed=0))


@pytest.mark.parametrize("context", [True, False])
def test_no_call_changes_the_number_of_threads(context):
    known = PointProcess.known([2.0], [[0.5]], [0.1], ["a"])
    before = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            frame = known.simulate(12, end=3.0, seed=0)
            process = hawkes.fit(frame, HawkesSettings(context=context, epochs=1))
            process.forecast(frame, [1.0], paths=20)
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
