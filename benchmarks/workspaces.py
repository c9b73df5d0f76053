"""Workspaces of the benchmark datasets, made by the library's own import and stages."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.tiktok import write_tables
from m3tr.config import FILE
from m3tr.errors import InputError
from m3tr.stages import import_data, simulate_data

REPOSITORY = Path(__file__).resolve().parents[1]
PARAMS = Path(__file__).parent / "params"


class Source(NamedTuple):
    """How a dataset comes into a workspace: the source's name and the columns left out.

    `modalities` are those that some of its videos have.
    """

    kind: str
    drop: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ("text",)


# real data, below M3TR_REAL_DATA; params/<name>.yaml holds the settings of each
REAL = {
    "youtube-2021": Source("snapshots"),
    "weibo-ced": Source("parquet", drop=("rumor",)),  # a label of its own, not an input
    "tiktok-smp": Source("parquet"),  # through tiktok.write_tables
}
SIMULATED = {"sample": 400, "simulation-5000": 5000}  # videos; the settings are the repository's
NAMES = (*SIMULATED, *REAL)

# what --quick changes: less of everything that is repeated or searched
QUICK: dict[str, dict[str, Any]] = {
    "hawkes": {"epochs": 1},
    "train": {"members": 4, "epochs": 8, "trees": 20, "tuning": 1, "seeds": 1},
    "evaluate": {"tuning": 2, "seeds": 1, "bootstrap": 100},
}
QUICK_VIDEOS = 1500  # of a real dataset, drawn at random
QUICK_WORLD = 400


def real_data() -> Path:
    """Folder of the real datasets: M3TR_REAL_DATA, by default `../shared/data`."""
    return Path(os.environ.get("M3TR_REAL_DATA") or REPOSITORY.parent / "shared" / "data")


def settings_of(dataset: str, quick: bool) -> dict[str, Any]:
    """The content of the dataset's params.yaml; that of simulated worlds is the repository's."""
    path = REPOSITORY / FILE if dataset in SIMULATED else PARAMS / f"{dataset}.yaml"
    settings: dict[str, Any] = yaml.safe_load(path.read_text()) | {"name": dataset}
    # the question is how good the forecasts are, not whether they may be promoted
    settings.get("evaluate", {}).pop("bounds", None)
    return merged(settings, QUICK) if quick else settings


def merged(settings: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`settings` with the keys of each section of `changes` replaced."""
    return {**settings} | {
        section: {**settings.get(section, {}), **keys} for section, keys in changes.items()
    }


def repeated(settings: dict[str, Any], i: int, random: bool) -> dict[str, Any]:
    """The settings of repetition `i`: another random split, or another training seed."""
    if random:
        return merged(settings, {"task": {"seed": settings["task"].get("seed", 7) + i}})
    return settings | {"seed": settings.get("seed", 7) + i}


def write_settings(workspace: Path, settings: Mapping[str, Any]) -> None:
    """Write params.yaml of a workspace."""
    (workspace / FILE).write_text(yaml.safe_dump(dict(settings), sort_keys=False))


@contextmanager
def workspace_of(dataset: str, keep: Path | None = None, quick: bool = False) -> Iterator[Path]:
    """A new workspace that holds the dataset's `data/`, in `keep` or in a temporary folder.

    With `quick` a real dataset is cut down to `QUICK_VIDEOS` videos. Runs are recorded in the
    workspace itself, whatever MLFLOW_TRACKING_URI says.

    Raises
    ------
    InputError
        Where the real dataset is absent, or `keep` holds data already.
    """
    require(dataset)
    with without_server(), tempfile.TemporaryDirectory(prefix="m3tr-benchmark-") as scratch:
        folder = keep or Path(scratch)
        bring(dataset, folder, quick)
        yield folder


def require(dataset: str) -> None:
    """InputError where a real dataset is absent."""
    if dataset in REAL and not (real_data() / dataset / "videos.parquet").exists():
        raise InputError(
            f"{real_data() / dataset} holds no dataset: set M3TR_REAL_DATA to the folder of the "
            "real datasets, or use the sample"
        )


@contextmanager
def without_server() -> Iterator[None]:
    """Runs are recorded in their workspaces, whatever MLFLOW_TRACKING_URI says."""
    server = os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        yield
    finally:
        if server is not None:
            os.environ["MLFLOW_TRACKING_URI"] = server


def bring(dataset: str, folder: Path, quick: bool = False) -> None:
    """Write `folder/data`; the sample is a simulated world, so its truth is there too."""
    folder.mkdir(parents=True, exist_ok=True)
    if dataset in SIMULATED:
        videos = min(SIMULATED[dataset], QUICK_WORLD) if quick else SIMULATED[dataset]
        simulate_data(folder, videos=videos, seed=7, media=True)
        return
    kind, drop, _ = REAL[dataset]
    with tempfile.TemporaryDirectory(prefix="m3tr-tables-") as scratch:
        source = real_data() / dataset
        if dataset == "tiktok-smp":
            write_tables(source, Path(scratch))
            source = Path(scratch)
        import_data(kind, source, folder, list(drop), target="view", force=False)
    if quick:
        _cut(folder / "data")


def _cut(data: Path) -> None:
    """Keep a random draw of the videos and their feedback."""
    import polars as pl

    videos = pl.read_parquet(data / "videos.parquet").sort("video_id")
    videos = videos.sample(min(QUICK_VIDEOS, videos.height), seed=7)
    feedback = pl.read_parquet(data / "feedback.parquet")
    videos.write_parquet(data / "videos.parquet")
    feedback.join(videos, on="video_id", how="semi").write_parquet(data / "feedback.parquet")
