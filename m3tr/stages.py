"""The stages: paths in, artifacts and a small report JSON out.

Every stage works in a workspace: a folder with `data/` and `params.yaml` (docs/architecture.md).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.errors import InputError
from m3tr.workspace import (
    BANK,
    CLASSES,
    DATA_DOCS,
    FEATURE_CACHE,
    FEATURES,
    FEATURES_DOCS,
    MODEL,
    PREDICTIONS,
    QUARANTINE,
    REJECTED,
    TABLES,
    TRAJECTORIES,
    Report,
    read_arrays,
    read_encoders,
    read_features,
    read_queries,
    read_report,
    read_table,
    read_tables,
    read_x_s,
    running,
    write_json,
    write_table,
)


def ingest(workspace: Path) -> Report:
    """Read, type and clean the tables; set bad rows aside; cut windows, labels and splits."""
    from m3tr.data import quarantine, tables, windows

    with running("ingest", workspace) as (params, report):
        data = workspace / "data"
        raw_videos = tables.read_videos(data / "videos.parquet")
        raw_feedback = tables.read_feedback(data / "feedback.parquet")
        videos, feedback, rejected = quarantine.clean(raw_videos, raw_feedback)
        known = quarantine.imported(data / "rejected.parquet")
        everything = pl.concat([known, rejected])
        write_table(everything, workspace / REJECTED)
        # what the import has set aside is missing from the tables, and counts all the same
        rows = {
            name: table.height + known.filter(pl.col("table") == name).height
            for name, table in (("videos", raw_videos), ("feedback", raw_feedback))
        }
        quarantine.enforce(everything, rows, params.quality, where=REJECTED)
        examples, figures = windows.make_examples(videos, feedback, params.task)
        for name, table in (("videos", videos), ("feedback", feedback), ("examples", examples)):
            write_table(table, workspace / TABLES / f"{name}.parquet")
        report.rows = examples.height
        report.figures = {
            "videos": videos.height,
            "feedback": feedback.height,
            "quarantined": quarantine.counts(everything),
            "examples": figures,
        }
    return report


def validate(workspace: Path) -> Report:
    """Great Expectations on the raw and the clean tables; InputError on a critical failure."""
    from m3tr.data import quality, raw_quality, tables

    with running("validate", workspace) as (params, report):
        examples = read_table(workspace, "examples")
        data, docs = workspace / "data", workspace / DATA_DOCS
        # what is summed up of the raw tables is small, and they are gone before the others come
        raw = raw_quality.suites(
            tables.read_videos(data / "videos.parquet"),
            tables.read_feedback(data / "feedback.parquet"),
            params.quality,
        )
        videos, feedback = (read_table(workspace, name) for name in ("videos", "feedback"))
        report.figures = quality.validate(
            videos, feedback, examples, params.quality, docs, media_root=data, raw=raw
        )
        report.rows = videos.height
        _refuse_failures("the data", report.figures["failed"], docs)
        _tell_warnings(report.figures["warnings"])
        write_json({"failed_critical": 0}, workspace / "artifacts/validated.json")
    return report


def features(workspace: Path) -> Report:
    """Visual, audio and text embeddings of every video; InputError on a critical failure."""
    from m3tr.data import quarantine
    from m3tr.features import drift, gate
    from m3tr.features.extract import extract_to
    from m3tr.features.store import parts

    with running("features", workspace) as (params, report):
        videos, rejected = (read_table(workspace, name) for name in ("videos", "rejected"))
        data, folder, cache = (workspace / p for p in ("data", FEATURES, FEATURE_CACHE))
        broken, figures = extract_to(folder, videos, data, params.features, cache_dir=cache)
        everything = quarantine.with_media(rejected, broken, data / "videos.parquet")
        write_table(everything, workspace / QUARANTINE)
        report.rows = videos.height
        report.figures = figures | {"in_quarantine": quarantine.sizes(everything)}
        encoders, docs = figures.get("encoders"), workspace / FEATURES_DOCS
        judged, summary = gate.judge(
            parts(folder), videos["video_id"].to_list(), params.quality, docs,
            encoders=encoders, kept_in=cache,
        )  # fmt: skip
        report.figures |= judged
        media = everything.tail(broken.height)
        quarantine.enforce_media(media, videos.height, params.quality, where=QUARANTINE)
        _refuse_failures("the features", judged["failed"], docs)
        drift.remember(cache, summary, encoders)
        for row in media.head(5).iter_rows(named=True):
            print(f"set aside: video {row['video_id']}: {row['reason']}: {row['remedy']}")
        _tell_warnings(judged["warnings"])
    return report


def trajectories(workspace: Path) -> Report:
    """The Mamba-Hawkes process, fitted on training feedback by likelihood; X_s of all."""
    import numpy as np
    from safetensors.numpy import save_file

    from m3tr.data.windows import event_rows, feedback_kinds, observed
    from m3tr.hawkes.events import batch
    from m3tr.hawkes.likelihood import mean_log_likelihood
    from m3tr.hawkes.training import fit
    from m3tr.model.queries import temporal_representation
    from m3tr.training.classes import fit_classes, whole_histories

    with running("trajectories", workspace) as (params, report):
        _, feedback, examples = read_tables(workspace)
        seen = observed(feedback, examples)
        in_training = examples.filter(pl.col("split") == "train")
        kinds = feedback_kinds(observed(feedback, in_training), params.task.target)
        seen = seen.filter(pl.col("kind").is_in(kinds))
        ids, ages = examples["video_id"].to_list(), examples["age_days"].to_numpy()
        events = batch(event_rows(seen), ids, ages, kinds)
        split = examples["split"].to_numpy()
        settings = params.hawkes.model_copy(update={"seed": params.seed})
        training = events.select(np.flatnonzero(split == "train"))
        model = fit(training, kinds, settings)
        places = [np.flatnonzero(split == name) for name in np.unique(split)]
        # apart: not even rounding may tell one split of another
        parts = [temporal_representation(model, seen, examples[p.tolist()]) for p in places]
        x_s = np.concatenate(parts)[np.argsort(np.concatenate(places))]
        folder = workspace / TRAJECTORIES
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "mhp")
        save_file({"x_s": x_s}, folder / "x_s.safetensors")
        whole = whole_histories(feedback, in_training, kinds)
        classes = fit_classes(whole, in_training["age_days"].to_numpy(), model)
        save_file(classes.arrays, workspace / CLASSES)
        held = events.select(np.flatnonzero(split == "validation"))
        report.rows = len(ids)
        report.figures = {
            "kinds": kinds,
            "classes": len(classes),
            "size": x_s.shape[1],
            "log_likelihood_per_event": {
                "train": mean_log_likelihood(model, training),
                "validation": mean_log_likelihood(model, held),
            },
            "branching_ratio": float(
                np.abs(np.linalg.eigvals(model.branching.detach().numpy())).max()
            ),
        }
    return report


def bank(workspace: Path) -> Report:
    """The memory bank of training videos, and a check of what it shows to whom."""
    from safetensors.numpy import save_file

    from m3tr.hawkes.process import MambaHawkes
    from m3tr.training.memory import build_bank

    with running("bank", workspace) as (params, report):
        videos, feedback, examples = read_tables(workspace)
        mhp = MambaHawkes.load(workspace / TRAJECTORIES / "mhp")
        memory, maker, report.figures = build_bank(
            videos,
            feedback,
            examples,
            read_x_s(workspace),
            read_features(workspace, examples),
            mhp,
            params.task,
            params.bank,
            read_encoders(workspace) | {"mhp": mhp.fingerprint()},
            {"dataset": params.name, "split": "train"},
            params.seed,
        )
        report.rows = len(memory)
        _refuse_breaches(report.figures["contract"])
        memory.save(workspace / BANK)
        save_file(maker.arrays, workspace / BANK / "keys.safetensors")
    return report


def train(workspace: Path) -> Report:
    """The base forecast, the network and the trees, as one saved forecaster."""
    from m3tr.hawkes.latent import LatentClasses
    from m3tr.hawkes.process import MambaHawkes
    from m3tr.memory.bank import Bank
    from m3tr.memory.keys import KeyMaker
    from m3tr.training.ages import at_other_ages
    from m3tr.training.classes import whole_histories
    from m3tr.training.fit import fit

    with running("train", workspace) as (params, report):
        queries = read_queries(workspace, ("train", "validation", "test"))
        tables = read_tables(workspace)
        folder = workspace / BANK
        mhp = MambaHawkes.load(workspace / TRAJECTORIES / "mhp")
        maker = KeyMaker.from_arrays(read_arrays(folder / "keys.safetensors", "bank"))
        forecaster, figures = fit(
            queries["train"],
            queries["validation"],
            Bank.open(folder, {"mhp": mhp.fingerprint(), "keys": maker.fingerprint()}),
            maker,
            mhp,
            list(mhp.kinds),
            params.task,
            params.bank,
            params.features,
            params.train,
            params.seed,
            queries["test"].examples["video_id"].to_list(),
            at_other_ages(
                *tables, read_features(workspace, tables[-1]), mhp, params.task, params.train.ages
            ),
            (
                LatentClasses.from_arrays(read_arrays(workspace / CLASSES, "trajectories")),
                whole_histories(tables[1], queries["train"].examples, list(mhp.kinds)),
            ),
        )
        forecaster.save(workspace / MODEL)
        report.rows, report.figures = len(queries["train"].x_s), figures
        _refuse_breaches(figures["contract"])
    return report


def evaluate(workspace: Path) -> Report:
    """Forecasts of the test split by M3TR and the baselines; the table and the report."""
    from m3tr.evaluation.markdown import Header
    from m3tr.evaluation.run import evaluate as run_evaluation
    from m3tr.model.forecaster import Forecaster
    from m3tr.registry.provenance import provenance

    with running("evaluate", workspace, run_of="train") as (params, report):
        videos, feedback, examples = read_tables(workspace)
        task, folder = params.task, workspace / "reports"
        until = task.observe.until
        predictions, report.figures = run_evaluation(
            Forecaster.load(workspace / MODEL),
            videos,
            feedback,
            examples,
            read_features(workspace, examples),
            params.evaluate,
            params.seed,
            Header(
                dataset=params.name,
                target=task.target,
                split=task.split,
                group_by=task.group_by,
                clock=f"{until:%Y-%m-%d %H:%M} UTC" if until else None,
                embargo=task.embargo,
            ),
            folder,
            {"dataset": params.name, "MLflow run": report.run.id}
            | provenance("evaluate", workspace),
            workspace / "data",
        )
        write_table(predictions, workspace / PREDICTIONS)
        report.rows = predictions["video_id"].n_unique()
        _refuse_breaches(report.figures["contract"])
        for name in ("results.md", "results.json", "report.html"):
            report.run.log_artifact(folder / name)
        broken = [bound for bound in report.figures["bounds"] if not bound["ok"]]
        if broken:
            first = broken[0]
            raise InputError(
                f"{first['metric']} of M3TR is {first['value']}, outside the bound "
                f"{first['limit']} of evaluate.bounds in params.yaml: nothing was registered"
            )
    return report


def register(workspace: Path) -> Report:
    """A new version of the registered model; champion only if it beats the champion."""
    from m3tr.registry.stage import register_model

    with running("register", workspace, run_of="train") as (params, report):
        videos, feedback, examples = read_tables(workspace)
        test = examples.filter(pl.col("split") == "test")
        content = read_features(workspace, test)
        report.rows = test.height
        report.figures = register_model(
            workspace / MODEL, videos, feedback, test, content, params.registry,
            read_report(workspace, "evaluate")["figures"]["headline"], {"dataset": params.name},
        )  # fmt: skip
    return report


STAGES: dict[str, Callable[[Path], Report]] = {
    f.__name__: f
    for f in (ingest, validate, features, trajectories, bank, train, evaluate, register)
}


def simulate_data(out: Path, *, videos: int, seed: int, media: bool) -> dict[str, Any]:
    """Write a simulated world to `out`; its figures."""
    from m3tr.simulation.settings import SimulationSettings
    from m3tr.simulation.world import simulate_dataset

    return simulate_dataset(out, SimulationSettings(videos=videos, seed=seed, media=media))


def import_data(
    source: str,
    src: Path,
    workspace: Path,
    drop: list[str],
    *,
    target: str,
    force: bool,
    link: bool = False,
) -> dict[str, Any]:
    """Turn a source into `data/` of a workspace; the import's report."""
    from m3tr.data.importing import import_dataset

    return import_dataset(source, src, workspace, drop, target=target, force=force, link=link)


def promote_version(workspace: Path, version: str) -> str:
    """Make a version the champion by decision of the user; the sentence to print."""
    from m3tr.config import read_params
    from m3tr.registry.connection import connect
    from m3tr.registry.promotion import appoint

    name = read_params(workspace).registry.model
    connect(workspace)
    appoint(name, version)
    return f"models:/{name}@champion is version {version}"


def _tell_warnings(warnings: list[str]) -> None:
    for text in warnings:
        print(f"warning: {text}")


def _refuse_failures(what: str, failed: list[str], docs: Path) -> None:
    if failed:
        raise InputError(
            f"{what} fail critical checks ({len(failed)}), the first: {failed[0]}; all are shown "
            f"in {docs / 'index.html'}"
        )


def _refuse_breaches(breaches: dict[str, int]) -> None:
    broken = {clause: n for clause, n in breaches.items() if n}
    if broken:
        listed = ", ".join(f"{n} times '{clause}'" for clause, n in broken.items())
        raise InputError(f"the information contract is broken ({listed}): nothing was trained")
