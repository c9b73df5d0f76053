"""The forecaster as its users meet it: two tables in, forecasts out, one folder."""

import json
import shutil
import warnings
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from safetensors.numpy import load_file

from m3tr.errors import InputError
from m3tr.features.extract import extract
from m3tr.features.store import Features
from m3tr.hawkes.process import MambaHawkes
from m3tr.memory.bank import Bank
from m3tr.model.blend import Blend
from m3tr.model.forecaster import Forecaster
from m3tr.quantiles import LEVELS

COLUMNS = ["video_id", "horizon", "horizon_days", "increment", "total", "increment_lo"]
COLUMNS += ["increment_hi"]


@pytest.fixture(scope="module")
def forecasts(tiny_forecaster):
    return tiny_forecaster.predict()


def test_one_row_a_video_and_horizon_in_the_order_asked(tiny_forecaster, forecasts):
    videos = tiny_forecaster.part("test")
    assert forecasts.columns == COLUMNS
    assert forecasts["video_id"].to_list() == np.repeat(videos["video_id"].to_numpy(), 2).tolist()
    assert forecasts["horizon"].to_list() == [0, 1] * videos.height
    assert forecasts["horizon_days"].to_list() == [2.0, 4.0] * videos.height
    assert forecasts.select(pl.selectors.numeric().is_finite().all()).row(0) == (True,) * 6


def test_nothing_is_forecast_of_no_videos(tiny_forecaster, forecasts):
    none = tiny_forecaster.predict(videos=tiny_forecaster.part("test")[:0])
    assert none.schema == forecasts.schema and none.is_empty()


def test_saved_and_loaded_it_forecasts_the_same(tiny_forecaster, forecasts, tmp_path):
    tiny_forecaster.forecaster.save(tmp_path / "model")
    again = Forecaster.load(tmp_path / "model")
    videos, feedback = tiny_forecaster.part("test"), tiny_forecaster.feedback
    assert again.predict(videos, feedback, features=tiny_forecaster.features).equals(forecasts)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_was_trained_is_what_is_loaded(tiny_forecaster, tiny_queries):
    """The keys of the bank's own videos, made anew, are those that the bank holds."""
    f, train = tiny_forecaster.forecaster, tiny_queries["train"]
    keys = f.key_maker.keys(train.x_s, f.compared(train))
    place = {video: i for i, video in enumerate(train.examples["video_id"])}
    order = [place[video] for video in f.bank.items["video_id"]]
    assert f.key_maker.modalities == ["audio", "numbers", "text", "visual"]
    for m, key in keys.content.items():
        assert np.allclose(key[order], f.bank.keys.content[m], atol=1e-6)
    assert np.allclose(keys.trajectory[order], f.bank.keys.trajectory, atol=1e-6)


def test_a_model_of_before_the_latent_classes_forecasts_as_it_did(
    tiny_forecaster, forecasts, tmp_path
):
    """Its arrays and its process know nothing of them."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_forecaster.folder, folder)
    assert not any(name.startswith("classes/") for name in load_file(folder / "arrays.safetensors"))
    file = folder / "mhp" / "hawkes.json"
    about = json.loads(file.read_text())
    del about["settings"]["classes"]
    file.write_text(json.dumps(about))
    again = Forecaster.load(folder)
    assert len(again.classes.process) == 0
    made_with = {"mhp": fingerprint_of_before(folder / "mhp")}
    assert again.mhp.fingerprint() == made_with["mhp"]
    assert len(Bank.open(folder / "bank", made_with)) == len(tiny_forecaster.forecaster.bank)
    assert replace(tiny_forecaster, forecaster=again).predict().equals(forecasts)


def fingerprint_of_before(folder):
    """As it was computed when the settings had no classes."""
    about = json.loads((folder / "hawkes.json").read_text())
    digest = sha256(json.dumps(about["settings"], separators=(",", ":")).encode())
    digest.update(json.dumps(about["kinds"]).encode())
    for name, array in sorted(MambaHawkes.load(folder).state_dict().items()):
        digest.update(name.encode() + array.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_no_model_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="run the stage `train`"):
        Forecaster.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("forecaster.json", "{}"),
        ("forecaster.json", "[]"),
        ("arrays.safetensors", None),
        ("arrays.safetensors", "broken"),
        ("mhp/hawkes.json", "{}"),
        ("mhp/hawkes.safetensors", "broken"),
    ],
)
def test_a_damaged_model_is_one_sentence(tiny_forecaster, tmp_path, name, content):
    folder = shutil.copytree(tiny_forecaster.folder, tmp_path / "model")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match="holds a damaged forecaster, or one of another version"):
        Forecaster.load(folder)


def test_a_model_without_all_its_boosters_is_one_sentence(tiny_forecaster, tmp_path):
    folder = shutil.copytree(tiny_forecaster.folder, tmp_path / "model")
    for file in folder.glob("boosted.label.*"):
        file.unlink()
    with pytest.raises(InputError, match="boosters are missing"):
        Forecaster.load(folder)


@pytest.mark.parametrize("kept", ["network", "boosted", "forests"])
def test_a_forecaster_of_some_heads_is_kept_whole(tiny_forecaster, tiny_queries, tmp_path, kept):
    f, queries = tiny_forecaster.forecaster, tiny_queries["test"]
    nothing: dict[str, Any] = {"network": None, "boosted": {}, "forests": {}}
    others = {name: value for name, value in nothing.items() if name != kept}
    names = ["network"] if kept == "network" else [f"{kept} {t}" for t in getattr(f, kept)]
    blend = Blend.from_arrays({"weights": np.full(len(names), 0.5)})
    some = replace(f, blend=blend, **others)
    some.save(tmp_path / "model")
    again = Forecaster.load(tmp_path / "model")
    assert len(again.corrections(again.inputs(queries, again.retrieve(queries)))) == len(names)
    one, two = (m.forecast(queries, m.retrieve(queries)) for m in (some, again))
    assert np.allclose(one, two, atol=1e-6) and np.ptp(one) > 0


def test_a_video_alone_gets_what_it_gets_among_others(tiny_forecaster, forecasts):
    videos = tiny_forecaster.part("test")
    alone = [tiny_forecaster.predict(videos=videos[i : i + 1]) for i in range(0, videos.height, 4)]
    together = forecasts.join(pl.concat(alone), on=["video_id", "horizon"], how="semi")
    assert_frame_equal(pl.concat(alone), together, rel_tol=0, abs_tol=1e-6)


def test_order_of_rows_is_irrelevant(tiny_forecaster, forecasts):
    videos = tiny_forecaster.part("test").sample(fraction=1, shuffle=True, seed=1)
    feedback = tiny_forecaster.feedback.sample(fraction=1, shuffle=True, seed=2)
    shuffled = tiny_forecaster.predict(videos=videos, feedback=feedback)
    assert (
        shuffled["video_id"].unique(maintain_order=True).to_list() == videos["video_id"].to_list()
    )
    keys = ["video_id", "horizon"]
    assert_frame_equal(shuffled.sort(keys), forecasts.sort(keys), rel_tol=0, abs_tol=1e-6)


def test_features_from_scratch_are_the_given_ones(tiny_forecaster):
    """A world of texts only: what `predict` extracts is what the stage would have given it."""
    videos = tiny_forecaster.part("test")
    given, _, _ = extract(videos, None)
    assert list(given.tokens) == ["text"]
    one = tiny_forecaster.predict(features=given)
    assert tiny_forecaster.predict(features=None).equals(one)
    assert not one.equals(tiny_forecaster.predict())  # picture and sound did matter


def test_totals_and_intervals(tiny_forecaster, forecasts):
    examples = tiny_forecaster.examples
    observed = forecasts.join(examples.select("video_id", "observed"), on="video_id")["observed"]
    seen = np.log2(1 + observed.to_numpy())
    increment, total = forecasts["increment"].to_numpy(), forecasts["total"].to_numpy()
    assert (total >= seen - 1e-12).all() and (increment >= 0).all()
    assert np.allclose(np.exp2(total), np.exp2(seen) - 1 + np.exp2(increment), rtol=1e-9)
    lo, hi = forecasts["increment_lo"].to_numpy(), forecasts["increment_hi"].to_numpy()
    assert (lo >= 0).all() and (lo <= increment).all() and (increment <= hi).all()
    assert len(np.unique((hi - lo).round(6))) > len(lo) / 2  # each video has its own width


def test_quantiles_are_those_of_the_interval(tiny_forecaster, tiny_queries, forecasts):
    f, queries = tiny_forecaster.forecaster, tiny_queries["test"]
    inputs = f.inputs(queries, f.retrieve(queries))
    q = f.intervals.quantiles(inputs.everything, f.forecast_inputs(inputs))
    assert q.shape == (*inputs.base.shape, len(LEVELS))
    assert (q >= 0).all() and (np.diff(q, axis=2) >= 0).all()
    lo, hi = (forecasts[f"increment_{end}"].to_numpy().reshape(q.shape[:2]) for end in ("lo", "hi"))
    inside = (LEVELS > 0.1) & (LEVELS < 0.9)
    assert (q[..., inside] >= lo[..., None] - 1e-6).all()
    assert (q[..., inside] <= hi[..., None] + 1e-6).all()


def test_without_any_feedback(tiny_forecaster):
    nothing = tiny_forecaster.feedback.clear()
    out = tiny_forecaster.predict(feedback=nothing)
    assert out["increment"].is_finite().all()
    assert np.allclose(out["total"].to_numpy(), out["increment"].to_numpy())


def test_a_video_without_any_content(tiny_forecaster):
    blank = pl.lit(None, pl.String)
    videos = tiny_forecaster.part("test").with_columns(title=blank, description=blank)
    nothing = Features.empty(videos["video_id"].to_list())
    assert tiny_forecaster.predict(videos=videos, features=nothing)["total"].is_finite().all()


def test_a_calendar_clock_keeps_the_leads(tiny_forecaster):
    videos = tiny_forecaster.part("test")
    clock = videos["published_at"].max() + timedelta(hours=5)
    out = tiny_forecaster.predict(observed_at=clock)
    age = (clock - videos["published_at"]).dt.total_microseconds().to_numpy() / 86_400e6
    expected = np.column_stack([age + 1, age + 3]).ravel()  # ages 2 d and 4 d, seen at 1 d
    assert np.allclose(out["horizon_days"].to_numpy(), expected)


def test_the_task_clock_given_by_hand_is_the_task_clock(tiny_forecaster, forecasts):
    video = tiny_forecaster.part("test")[3:4]
    by_hand = tiny_forecaster.predict(
        videos=video, observed_at=video["published_at"][0] + timedelta(days=1)
    )
    own = forecasts.filter(pl.col("video_id") == video["video_id"][0])
    assert_frame_equal(by_hand, own, rel_tol=0, abs_tol=1e-6)


@pytest.mark.parametrize("late", [False, True])
def test_an_unknown_kind_is_told_and_changes_nothing(tiny_forecaster, forecasts, late):
    video = tiny_forecaster.part("test")[0]
    age = timedelta(days=1, microseconds=1) if late else timedelta(hours=2)
    row = {
        "video_id": video["video_id"],
        "time": video["published_at"] + age,
        "kind": pl.Series(["danmaku"]),
        "count": pl.Series([1]),
    }
    feedback = pl.concat([tiny_forecaster.feedback, pl.DataFrame(row)])
    known = ", ".join(tiny_forecaster.forecaster.mhp.kinds)
    told = f"kind danmaku is left out: the model was trained on {known};"
    quiet = warnings.catch_warnings(action="error")
    with quiet if late else pytest.warns(UserWarning, match=told):
        assert tiny_forecaster.predict(feedback=feedback).equals(forecasts)


def test_a_video_of_the_future_is_refused(tiny_forecaster):
    clock = tiny_forecaster.part("test")["published_at"].min()
    with pytest.raises(InputError, match="v0000.*after the clock"):
        tiny_forecaster.predict(observed_at=clock)


def test_media_that_are_not_there_are_told(tiny_forecaster):
    f, videos = tiny_forecaster.forecaster, tiny_forecaster.part("test").head(3)
    gone = videos.with_columns(media=pl.lit("nowhere.mp4"))
    with pytest.warns(UserWarning, match=f"video {videos['video_id'][0]}.*nowhere.mp4"):
        found = f.predict(gone, tiny_forecaster.feedback)
    assert found["increment"].is_finite().all()


def test_a_missing_column_is_one_sentence_and_a_missing_count_is_one(tiny_forecaster, forecasts):
    f, videos = tiny_forecaster.forecaster, tiny_forecaster.part("test")
    feedback, content = tiny_forecaster.feedback, tiny_forecaster.features
    assert (feedback["count"] == 1).all()
    assert f.predict(videos, feedback.drop("count"), features=content).equals(forecasts)
    with pytest.raises(InputError, match="^feedback: the column 'kind' is missing"):
        f.predict(videos, feedback.drop("kind"), features=content)
    with pytest.raises(InputError, match="^videos: the column 'published_at' is missing"):
        f.predict(videos.drop("published_at"), feedback, features=content)


def test_features_of_another_encoder_are_refused(tiny_forecaster):
    whole = tiny_forecaster.features
    other = Features(
        whole.ids,
        whole.tokens | {"visual": np.zeros((len(whole), 3, 11), "f4")},
        whole.mask,
    )
    with pytest.raises(InputError, match="visual tokens have 11 dimensions.*trained on 6"):
        tiny_forecaster.predict(features=other)


def test_x_s_expects_what_the_horizons_ask_for(tiny_forecaster, tiny_queries):
    """The expected increments in X_s are those between the clock and the horizons."""
    from m3tr.data.windows import event_rows
    from m3tr.hawkes.events import batch
    from m3tr.hawkes.forecast import expected_counts
    from m3tr.hawkes.representation import represent

    mhp, queries = tiny_forecaster.forecaster.mhp, tiny_queries["test"]
    ids, ages = queries.examples["video_id"].to_list(), queries.examples["age_days"].to_numpy()
    events = batch(event_rows(queries.observed), ids, ages, mhp.kinds)
    ahead = expected_counts(mhp, events, [1.0, 3.0])
    expected = np.log2(1 + ahead.detach().numpy()).reshape(len(ids), -1)
    x_s, names = represent(mhp, events, np.array(queries.examples["horizon_days"].to_list()))
    assert np.array_equal(x_s, queries.x_s)
    places = [i for i, name in enumerate(names) if name.startswith("log_increment")]
    assert np.allclose(x_s[:, places], expected, rtol=1e-4, atol=1e-5)


def test_the_forecast_is_a_blend_of_its_heads(tiny_forecaster, tiny_queries):
    from m3tr.model.network import increments

    f, queries = tiny_forecaster.forecaster, tiny_queries["test"]
    inputs = f.inputs(queries, f.retrieve(queries))
    assert f.network is not None
    heads = {
        "network": increments(f.network, inputs) - inputs.base,
        **{f"boosted {t}": head.predict(inputs.everything) for t, head in f.boosted.items()},
        **{f"forest {t}": head.predict(inputs.everything) for t, head in f.forests.items()},
    }
    for name in ("boosted label", "forest label"):
        heads[name] = heads[name] - inputs.base
    assert len(heads) == 5
    weights = f.blend.arrays["weights"]
    assert (weights >= 0).all() and weights.sum() > 0
    parts = sum(w * head for w, head in zip(weights, heads.values(), strict=True))
    assert np.allclose(f.forecast_inputs(inputs), np.maximum(inputs.base + parts, 0))
    assert [*f.corrections(inputs)] == [*heads]


def test_a_bank_that_is_not_read_shows_nobody(tiny_forecaster, tiny_queries):
    f, queries = tiny_forecaster.forecaster, tiny_queries["test"]
    alone = replace(f, bank_settings=f.bank_settings.model_copy(update={"retrieve": False}))
    found = alone.retrieve(queries)
    assert found.index.shape == (len(queries.x_s), f.bank_settings.k) and not found.found.any()
    assert not alone.earlier(queries).found.any()
    assert (alone.information, f.information) == ("CF", "CFR")
    assert f.bank.explain(queries.examples["video_id"].to_list(), found).is_empty()
    inputs = alone.inputs(queries, found)
    assert np.isfinite(alone.forecast_inputs(inputs)).all()
    assert not any(mask.any() for mask in inputs.retrieved.mask.values())
