"""Do retrieved videos turn out like the query? Neighbours' futures against the truth, real data.

Each test video is shown its 10 neighbours by the contract: training videos only, under the temporal
split only those whose outcome was known at the query's clock, no near-duplicates. SRC is Spearman's
correlation of their median increment at the last horizon with the truth, nMSE the squared error of
their mean. What is learned (the key, eta, the weights of the modalities) is learned from training
and validation. `+ numbers` has the videos' numbers (creator counts, categories) as one more
modality of content beside those of the encoders. A repetition is another random split; under the
temporal split, of which there is one, another seed of the point process and the key.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.workspaces import repeated, settings_of, workspace_of, write_settings
from m3tr.config import read_params
from m3tr.data.splits import groups_of
from m3tr.errors import InputError
from m3tr.evaluation.bootstrap import Bootstrap, interval
from m3tr.evaluation.metrics import nmse, src
from m3tr.memory.bank import Bank
from m3tr.memory.contract import violations
from m3tr.memory.keys import KeyMaker, Keys, unit
from m3tr.memory.neighbours import Neighbours
from m3tr.memory.numbers import NUMBERS, Numbers
from m3tr.memory.weights import Blend, learn
from m3tr.model.remember import items_of
from m3tr.stages import STAGES
from m3tr.workspace import read_features, read_tables, read_x_s

DATASETS = ("youtube-2021", "weibo-ced")  # those with trajectories
RESAMPLES, QUICK_RESAMPLES = 2000, 200
SPLITS = 3
MORE = " + numbers"
ROWS = (
    "random",
    "content only",
    f"content only{MORE}",
    "trajectory only",
    "combined",
    f"combined{MORE}",
    "learned key",
    f"learned key{MORE}",
)
# each row less the other, on the same test videos
PAIRS = (
    ("combined", "content only"),
    ("combined", "trajectory only"),
    ("learned key", "combined"),
    ("learned key", "trajectory only"),
    (f"combined{MORE}", f"content only{MORE}"),
    (f"combined{MORE}", "trajectory only"),
    (f"learned key{MORE}", f"combined{MORE}"),
    (f"learned key{MORE}", "learned key"),
)


class World(NamedTuple):
    """A dataset's examples with all that retrieval needs of them."""

    examples: pl.DataFrame
    videos: pl.DataFrame
    split: np.ndarray
    y: np.ndarray  # (N, H) increments
    likelihood: Keys
    supervised: Keys
    figures: dict[str, float]  # of the supervised key
    k: int
    causal: bool
    seed: int

    def rows(self, split: str) -> np.ndarray:
        """Positions of a split."""
        return np.flatnonzero(self.split == split)


class Found(NamedTuple):
    """A row of the table on the test split of one repetition."""

    median: np.ndarray  # (Q,) of the neighbours' increments at the last horizon
    mean: np.ndarray
    blend: Blend


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--dataset", choices=[*DATASETS, "all"], default="all")
    parser.add_argument("--splits", type=int, default=SPLITS, help="repetitions (see above)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """`{dataset: {rows: {row: {src, nmse, by_split, ...}}, differences, key, contract}}`."""
    if options.splits < 1:
        raise InputError(f"--splits {options.splits}: there must be at least one")
    out: dict[str, Any] = {}
    every = ["weibo-ced"] if options.quick else list(DATASETS)
    for name in every if options.dataset == "all" else [options.dataset]:
        splits = 1 if options.quick else options.splits
        out[name] = measured(name, splits, options.quick)
        print(table(name, out[name]))
    return out


def measured(dataset: str, splits: int, quick: bool) -> dict[str, Any]:
    """All figures of one dataset."""
    settings = settings_of(dataset, quick)
    random = settings["task"].get("split", "temporal") == "random"
    found: list[dict[str, Found]] = []
    truths, keys, breaches = [], [], 0
    with workspace_of(dataset, quick=quick) as workspace:
        for i in range(splits):
            write_settings(workspace, repeated(settings, i, random))
            stages = ["ingest", *(["features"] if i == 0 else []), "trajectories"]
            for stage in stages:
                with redirect_stdout(sys.stderr):
                    STAGES[stage](workspace)
            world = read_world(workspace)
            rows, broken = retrieved(world)
            found.append(rows)
            truths.append(world.y[world.rows("test")][:, -1])
            keys.append(world.figures)
            breaches += broken
    resamples = QUICK_RESAMPLES if quick else RESAMPLES
    rows_of_table, differences = scores(found, truths, resamples, same_videos=not random)
    return {
        "test_videos": [len(y) for y in truths],
        "rows": rows_of_table,
        "differences": differences,
        "key": keys,
        "contract_breaches": breaches,
    }


def read_world(workspace: Path) -> World:
    """The examples and keys of a workspace in which `trajectories` has run."""
    params = read_params(workspace)
    videos, _, examples = read_tables(workspace)
    x_s, content = read_x_s(workspace), read_features(workspace, examples).embeddings()
    split = examples["split"].to_numpy()
    train = np.flatnonzero(split == "train")
    told = examples.select("video_id").join(videos, on="video_id", maintain_order="left")
    content[NUMBERS] = Numbers().fit(told[train.tolist()]).transform(told)
    maker = KeyMaker().fit(x_s[train], {m: e[train] for m, e in content.items()})
    likelihood, y = maker.keys(x_s, content), np.array(examples["increment"].to_list(), float)
    start = time.perf_counter()
    [figures] = maker.learn(
        x_s[train], None, y[train], groups_of(told)[train], params.seed
    ).values()  # fmt: skip
    return World(
        examples,
        videos,
        split,
        y,
        likelihood,
        maker.keys(x_s, content),
        figures | {"seconds": round(time.perf_counter() - start, 1)},
        params.bank.k,
        params.task.split == "temporal",
        params.seed,
    )


def retrieved(world: World) -> tuple[dict[str, Found], int]:
    """Every row on the test split; breaches of the contract."""
    noise = np.random.default_rng(world.seed).normal(size=(len(world.y), 16))
    content = world.likelihood.content
    likelihood, supervised = Search(world, world.likelihood), Search(world, world.supervised)
    every = tuple(sorted(content))
    encoded = tuple(m for m in every if m != NUMBERS)
    blends = {
        "random": (Search(world, Keys(unit(noise), content)), Blend(1.0)),
        "content only": (likelihood, Blend(0.0, dict.fromkeys(encoded, 1.0))),
        f"content only{MORE}": (likelihood, Blend(0.0, dict.fromkeys(every, 1.0))),
        "trajectory only": (likelihood, Blend(1.0)),
        "combined": (likelihood, likelihood.learned(encoded)),
        f"combined{MORE}": (likelihood, likelihood.learned(every)),
        "learned key": (supervised, supervised.learned(encoded)),
        f"learned key{MORE}": (supervised, supervised.learned(every)),
    }
    out, breaches = {}, 0
    for row, (search, blend) in blends.items():
        neighbours = search.show("test", blend.eta, blend.weights)
        out[row] = Found(*search.futures(neighbours), blend)
        breaches += search.breaches("test", neighbours)
    return out, breaches


class Search:
    """A bank of the training split, asked by the other splits."""

    def __init__(self, world: World, keys: Keys) -> None:
        self.world, self.keys = world, keys
        train = world.rows("train")
        self.bank = Bank.build(
            items_of(world.examples[train.tolist()], world.videos),
            keys.select(train),
            {"increment": world.y[train]},
        )
        self.asked = {
            split: items_of(world.examples[world.rows(split).tolist()], world.videos)
            for split in ("validation", "test")
        }
        self.alike = {split: self.bank.alike(asked) for split, asked in self.asked.items()}

    def show(self, split: str, eta: float, weights: Mapping[str, float]) -> Neighbours:
        """What the queries of a split are shown."""
        asked = self.asked[split]
        return self.bank.search(
            self.keys.select(self.world.rows(split)),
            self.world.k,
            eta,
            {m: weights.get(m, 0.0) for m in self.bank.manifest.modalities},
            known_by=asked["observed_at"].to_numpy() if self.world.causal else None,
            exclude=self.alike[split],
        )

    def learned(self, modalities: tuple[str, ...]) -> Blend:
        """eta and the weights of these modalities that validation chooses."""

        def find(eta: float, weights: Mapping[str, float]) -> np.ndarray:
            return self.show("validation", eta, weights).index

        truth = self.world.y[self.world.rows("validation")]
        return learn(find, self.bank.value("increment"), truth, modalities)[0]

    def futures(self, neighbours: Neighbours) -> tuple[np.ndarray, np.ndarray]:
        """Median and mean increment of each query's neighbours at the last horizon."""
        near = self.bank.take("increment", neighbours.index)[:, :, -1]
        near = np.where(neighbours.found, near, np.nan)
        usual = self.bank.value("increment")[:, -1]
        # a query that may be shown nothing has the mean of the training split
        none = ~neighbours.found.any(1)
        near[none] = usual.mean()
        return np.nanmedian(near, axis=1), np.nanmean(near, axis=1)

    def breaches(self, split: str, neighbours: Neighbours) -> int:
        """Breaches of the information contract; must be 0."""
        held_out = set(self.world.examples.filter(pl.col("split") != "train")["video_id"])
        counts = violations(self.bank, self.asked[split], neighbours, held_out, self.world.causal)
        return sum(counts.values())


def scores(
    found: list[dict[str, Found]], truths: list[np.ndarray], resamples: int, same_videos: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores by row and differences by pair: means over the splits, intervals over test videos."""
    ranks: list[np.ndarray] = []  # (resamples, rows), by split
    errors: list[np.ndarray] = []
    for i, (rows, y) in enumerate(zip(found, truths, strict=True)):
        # other seeds on the same test videos are no new evidence: they share their resamples
        boot = Bootstrap(len(y), resamples, seed=0 if same_videos else i)
        ranks.append(boot.src(y, np.column_stack([rows[r].median for r in ROWS])))
        squares = np.column_stack([(rows[r].mean - y) ** 2 for r in ROWS])
        errors.append(boot.means(squares) / boot.variances(y)[:, None])
    each = {
        "src": [{r: src(y, f[r].median) for r in ROWS} for f, y in zip(found, truths, strict=True)],
        "nmse": [{r: nmse(y, f[r].mean) for r in ROWS} for f, y in zip(found, truths, strict=True)],
    }
    drawn = {"src": np.nanmean(ranks, axis=0), "nmse": np.mean(errors, axis=0)}
    out: dict[str, Any] = {}
    for j, row in enumerate(ROWS):
        blends = [f[row].blend for f in found]
        out[row] = {
            "eta": [blend.eta for blend in blends],
            "weights": [dict(blend.weights) for blend in blends],
        }
        for metric, values in each.items():
            own = [v[row] for v in values]
            out[row] |= {
                metric: float(np.mean(own)),
                f"{metric}_interval": interval(drawn[metric][:, j]),
                f"{metric}_by_split": own,
            }
    differences: dict[str, Any] = {}
    for one, other in PAIRS:
        a, b = ROWS.index(one), ROWS.index(other)
        differences[f"{one} - {other}"] = {
            metric: {
                "difference": out[one][metric] - out[other][metric],
                "interval": interval(drawn[metric][:, a] - drawn[metric][:, b]),
                "by_split": [v[one] - v[other] for v in values],
            }
            for metric, values in each.items()
        }
    return out, differences


def table(name: str, figures: Mapping[str, Any]) -> str:
    """The figures as text, a line a row."""
    sizes = " + ".join(str(n) for n in figures["test_videos"])
    lines = [
        f"\n{name}: {sizes} test videos, last horizon; {figures['contract_breaches']} breaches of "
        "the contract",
        f"{'row':22} {'SRC [95 % CI]':>23} {'nMSE [95 % CI]':>23}  eta; SRC by repetition",
    ]
    for row, f in figures["rows"].items():
        etas = ", ".join(f"{eta:g}" for eta in f["eta"])
        by_split = ", ".join(f"{v:.3f}" for v in f["src_by_split"])
        lines.append(f"{row:22} {bracket(f, 'src')} {bracket(f, 'nmse')}  {etas}; {by_split}")
    lines.append("")
    for pair, each in figures["differences"].items():
        parts = [
            f"{label} {d['difference']:+.4f} [{d['interval'][0]:+.4f}, {d['interval'][1]:+.4f}]"
            for label, d in (("SRC", each["src"]), ("nMSE", each["nmse"]))
        ]
        lines.append(f"{pair:43} {'   '.join(parts)}")
    return "\n".join(lines)


def bracket(figures: Mapping[str, Any], metric: str) -> str:
    """A score and its interval."""
    low, high = figures[f"{metric}_interval"]
    return f"{figures[metric]:.4f} [{low:.4f}, {high:.4f}]"
