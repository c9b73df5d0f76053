"""The environment of all tests, a tiny world, and a forecaster that was really trained on it."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

os.environ.update(HF_HUB_OFFLINE="1", GX_ANALYTICS_ENABLED="false", MPLBACKEND="Agg")
# read when torch is imported, which is later; small tensors on many threads are slow ones
os.environ.update(OMP_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true")
WORKER = "PYTEST_XDIST_WORKER" in os.environ

SEED = 7
DIMENSIONS = {"visual": (3, 6), "audio": (2, 5)}  # tokens, size of one
# small enough for seconds, large enough for each part to have something to learn
HAWKES = {"decays": [0.05, 0.5, 5.0], "width": 8, "state": 4, "epochs": 2, "batch_size": 64}
TRAIN = {"members": 2, "width": 8, "heads": 2, "hidden": 16, "epochs": 3, "batch_size": 32}
TRAIN |= {"trees": 10, "tuning": 1, "seeds": 1}
AGES = (0.7, 1.4)
# as the sample ships it: everything that can be learned is
BANK = {"eta": "learned", "weights": "learned", "trajectory": "supervised", "numbers": True}
BANK |= {"ages": ["6h", "12h"], "k": 4}


@dataclass(frozen=True)
class World:
    """A simulated dataset cut into examples, with content features.

    The text features are those of the titles and descriptions; picture and sound are random tokens,
    some absent, because the world is simulated without media files.
    """

    videos: pl.DataFrame
    feedback: pl.DataFrame
    examples: pl.DataFrame
    features: Any
    task: Any

    def part(self, split: str) -> pl.DataFrame:
        """The videos table of one split, in the order of the examples."""
        ids = self.examples.filter(pl.col("split") == split).select("video_id")
        return ids.join(self.videos, on="video_id", how="left", maintain_order="left")

    def but(self, **changes: Any) -> "World":
        """A copy with other parts."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Tiny:
    """A trained forecaster, where it is saved, and the world it comes from."""

    folder: Path
    forecaster: Any
    figures: dict[str, Any]
    world: World
    train: Callable[..., tuple[Any, dict[str, Any]]]
    remember: Callable[..., tuple[Any, Any, dict[str, Any]]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def predict(self, split: str = "test", **arguments: Any) -> pl.DataFrame:
        """Forecasts of one split from the whole feedback table, unless told otherwise."""
        videos = arguments.pop("videos", self.world.part(split))
        feedback = arguments.pop("feedback", self.world.feedback)
        features = arguments.pop("features", self.world.features)
        return self.forecaster.predict(videos, feedback, features=features, **arguments)

    def workspace(self, folder: Path) -> Path:
        """A finished workspace: tables, features and the model."""
        tables = folder / "artifacts/tables"
        tables.mkdir(parents=True)
        for name in ("videos", "feedback", "examples"):
            getattr(self, name).write_parquet(tables / f"{name}.parquet")
        self.features.save(folder / "artifacts/features")
        shutil.copytree(self.folder, folder / "artifacts/model")
        (folder / "params.yaml").write_text("name: asked\n")
        return folder


def make_world(folder: Path, videos: int = 120) -> World:
    """Simulate tables, draw features, cut windows."""
    from m3tr.data.settings import TaskSettings
    from m3tr.data.windows import make_examples
    from m3tr.features.extract import extract
    from m3tr.features.store import Features
    from m3tr.simulation.settings import SimulationSettings
    from m3tr.simulation.world import simulate_dataset

    settings = SimulationSettings(
        videos=videos, seed=3, media=False, days=60.0, followed_days=4.0, log_volume=3.5
    )
    simulate_dataset(folder, settings)
    table = pl.read_parquet(folder / "data/videos.parquet")
    feedback = pl.read_parquet(folder / "data/feedback.parquet")
    task = TaskSettings(
        target="view", observe={"age": "1d"}, horizons=["2d", "4d"], fractions=(0.6, 0.15, 0.25)
    )
    examples, _ = make_examples(table, feedback, task)
    text, _, _ = extract(table, None)
    rng = np.random.default_rng(0)
    tokens, mask = dict(text.tokens), dict(text.mask)
    for m, (T, D) in DIMENSIONS.items():
        present = (rng.random((videos, T)) < 0.8) & (rng.random((videos, 1)) < 0.85)
        tokens[m] = np.where(present[:, :, None], rng.normal(size=(videos, T, D)), 0).astype("f4")
        mask[m] = present
    return World(table, feedback, examples, Features(text.ids, tokens, mask), task)


def make_queries(world: World, mhp: Any = None) -> tuple[dict[str, Any], Any]:
    """Queries of every split and of all; fits the point process where none is given."""
    from m3tr.data.windows import event_rows, observed
    from m3tr.hawkes.events import batch
    from m3tr.hawkes.representation import represent
    from m3tr.hawkes.settings import HawkesSettings
    from m3tr.hawkes.training import fit
    from m3tr.model.queries import Queries

    examples = world.examples
    ids, ages = examples["video_id"].to_list(), examples["age_days"].to_numpy()
    seen = observed(world.feedback, examples)
    target = world.task.target
    kinds = [target, *sorted(set(world.feedback["kind"].unique()) - {target})]
    events = batch(event_rows(seen), ids, ages, kinds)
    split = examples["split"].to_numpy()
    rows = {s: np.flatnonzero(split == s) for s in ("train", "validation", "test")}
    if mhp is None:
        mhp = fit(events.select(rows["train"]), kinds, HawkesSettings(**HAWKES, seed=SEED))
    horizons = np.array(examples["horizon_days"].to_list())
    parts = {s: represent(mhp, events.select(r), horizons[r])[0] for s, r in rows.items()}
    x_s = np.empty((len(ids), parts["train"].shape[1]), np.float32)
    for name, part in parts.items():
        x_s[rows[name]] = part
    videos = examples.select("video_id").join(world.videos, on="video_id", maintain_order="left")
    everything = Queries(examples, videos, seen, world.features.select(ids), x_s)
    return {"all": everything} | {name: everything.select(r) for name, r in rows.items()}, mhp


def make_bank(
    world: World, mhp: Any, everything: Any = None, seed: int = SEED, **settings: Any
) -> tuple[Any, Any, dict[str, Any]]:
    """What the stage bank does: the bank of the training videos, what made its keys, figures."""
    from m3tr.memory.settings import BankSettings
    from m3tr.training.memory import build_bank

    everything = everything or make_queries(world, mhp)[0]["all"]
    return build_bank(
        world.videos,
        world.feedback,
        world.examples,
        everything.x_s,
        everything.features,
        mhp,
        world.task,
        BankSettings(**(BANK | settings)),
        {"mhp": mhp.fingerprint()},
        {},
        seed,
    )


def train_forecaster(
    world: World, mhp: Any = None, seed: int = SEED, bank: Any = None, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """What the stages trajectories, bank and train do, in seconds; `bank` has settings of it."""
    from m3tr.features.settings import FeatureSettings
    from m3tr.memory.settings import BankSettings
    from m3tr.training.ages import at_other_ages
    from m3tr.training.fit import fit
    from m3tr.training.settings import TrainSettings

    queries, mhp = make_queries(world, mhp)
    ids = world.examples["video_id"].to_list()
    bank_settings = BANK | (bank or {})
    memory, maker, _ = make_bank(world, mhp, queries["all"], seed, **bank_settings)
    return fit(
        queries["train"],
        queries["validation"],
        memory,
        maker,
        mhp,
        list(mhp.kinds),
        world.task,
        BankSettings(**bank_settings),
        FeatureSettings(),
        TrainSettings(**(TRAIN | settings)),
        seed,
        queries["test"].examples["video_id"],
        at_other_ages(
            world.videos, world.feedback, world.examples, world.features.select(ids), mhp,
            world.task, AGES,
        ),
    )  # fmt: skip


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder made once a test run, by whichever worker comes first."""
    from filelock import FileLock

    # under xdist every worker has its own folder below a common one
    root = factory.getbasetemp().parent if WORKER else factory.getbasetemp()
    with FileLock(root / f"{name}.lock"):
        folder = root / name
        if not (folder / "done").exists():
            make(folder)
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """About 120 videos of 60 days, seen for one day, forecast at two and four; temporal split."""
    from m3tr.data.settings import TaskSettings
    from m3tr.features.store import Features

    tables = ("videos", "feedback", "examples")

    def make(folder: Path) -> None:
        world = make_world(folder)
        for name in tables:
            getattr(world, name).write_parquet(folder / f"{name}.parquet")
        world.features.save(folder / "features")
        (folder / "task.json").write_text(world.task.model_dump_json())

    folder = shared(tmp_path_factory, "tiny_world", make)
    return World(
        **{name: pl.read_parquet(folder / f"{name}.parquet") for name in tables},
        features=Features.load(folder / "features"),
        task=TaskSettings.model_validate_json((folder / "task.json").read_text()),
    )


@pytest.fixture(scope="session")
def tiny_forecaster(tmp_path_factory: pytest.TempPathFactory, tiny_world: World) -> Tiny:
    """A real forecaster of the tiny world, trained once a test run and loaded from its folder."""
    from m3tr.model.forecaster import Forecaster

    def make(folder: Path) -> None:
        forecaster, figures = train_forecaster(tiny_world)
        forecaster.save(folder / "model")
        (folder / "figures.json").write_text(json.dumps(figures))

    folder = shared(tmp_path_factory, "tiny_forecaster", make)
    return Tiny(
        folder=folder / "model",
        forecaster=Forecaster.load(folder / "model"),
        figures=json.loads((folder / "figures.json").read_text()),
        world=tiny_world,
        train=train_forecaster,
        remember=make_bank,
    )


@pytest.fixture(scope="session")
def tiny_queries(tiny_forecaster: Tiny) -> Mapping[str, Any]:
    """Queries of the splits of the tiny world, by name, and `all` of them."""
    return make_queries(tiny_forecaster.world, tiny_forecaster.forecaster.mhp)[0]


@pytest.fixture
def m3tr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line; exit status, stdout and stderr."""

    from m3tr import cli

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["m3tr", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        return int(end.value.code or 0), told.out, told.err

    return call
