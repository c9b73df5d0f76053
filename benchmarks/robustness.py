"""What is left of the forecasts when little is known of a video, or what is known is false?"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.contenders import Contenders, compare, prepare, train
from benchmarks.perturbations import (
    Attack,
    Shape,
    with_fakes,
    with_mixed_fakes,
    without_feedback,
    without_metadata,
    without_modalities,
)
from benchmarks.tasks import MODEL
from benchmarks.workspaces import QUICK_VIDEOS, REAL, merged, settings_of, workspace_of
from m3tr.evaluation.settings import EvaluationSettings

SHARES = (0.05, 0.1, 0.2, 0.5)
QUICK_SHARES = (0.2,)
ATTACKED = 0.5  # of the training and validation videos, where fakes are learned from
PARTS = {"text": "text", "visual": "picture", "audio": "sound"}

Figures = dict[str, dict[str, dict[str, float]]]


class Question(NamedTuple):
    """What is asked of a dataset.

    Attributes
    ----------
    ages : sequence of str
        The first minutes; none where feedback starts later.
    cheap : str
        The kind that is easiest to fake.
    """

    ages: tuple[str, ...]
    cheap: str


QUESTIONS = {
    "sample": Question(("30min", "2h", "6h"), "like"),
    "youtube-2021": Question((), "like"),
    "weibo-ced": Question(("5min", "15min", "60min"), "comment"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--dataset", choices=[*QUESTIONS], default="sample")
    parser.add_argument("--keep", type=Path, help="workspace to keep, instead of a temporary one")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Both models in every setting; `{dataset: {section: {setting: figures}}}`.

    Figures are those of `contenders.compare`, of the increment at the last horizon.
    """
    settings = merged(settings_of(options.dataset, options.quick), {"bank": MODEL["bank"]})
    question = QUESTIONS[options.dataset]
    shares = QUICK_SHARES if options.quick else SHARES
    ages = question.ages[1:2] if options.quick else question.ages
    kinds = settings["task"].get("target", "view"), question.cheap
    attacks = [Attack(shape, kind, share) for shape, kind in forms(*kinds) for share in shares]
    with workspace_of(options.dataset, options.keep, options.quick) as workspace:
        prepare(workspace, settings)
        figures = young(workspace, settings, ages)
        whole = train(workspace, settings)
        print(heading(options, whole))
        figures["missing at test"] = missing(whole, settings)
        figures["fakes at test"] = attacked(whole, settings, attacks)
        if not options.quick:
            poison = partial(poisoned, attacks=attacks, settings=settings)
            wary = train(workspace, settings, change=poison)
            figures["fakes at test, learned from fakes"] = attacked(wary, settings, attacks)
    for section, rows in figures.items():
        print(f"\n{section}\n\n{table(rows)}")
    return {options.dataset: figures}


def forms(target: str, cheap: str) -> list[tuple[Shape, str]]:
    """Shapes and kinds of the attacks."""
    return [("bots", target), ("burst", target), ("burst", cheap)]


def young(workspace: Path, settings: dict[str, Any], ages: tuple[str, ...]) -> Figures:
    """Models trained for a cold start and for the first minutes; all videos count."""
    cold: dict[str, Any] = {"observe": {"age": 0}, "min_events": 0}
    if ages:
        start = {"at publication": train(workspace, settings, cold)}
    else:  # feedback starts when it is read for the first time: there is no outcome from 0 on
        start = {"no feedback": train(workspace, settings, change=without_feedback)}
    figures = {"cold start": {name: score(c, c.errors(), settings) for name, c in start.items()}}
    if ages:
        figures["first minutes"] = {}
    for age in ages:
        task = {"observe": {"age": age}, "min_events": 0}
        contenders = train(workspace, settings, task)
        figures["first minutes"][age] = score(contenders, contenders.errors(), settings)
    return figures


def missing(contenders: Contenders, settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the videos are lacks in part, in models that were trained on the whole."""
    videos, features = contenders.videos, contenders.features
    there = [m for m in PARTS if features.present(m).any()]
    cases = {PARTS[m]: without_modalities(videos, features, [m]) for m in there}
    if len(there) > 1:
        together = "all three" if len(there) == len(PARTS) else "both"
        cases[together] = without_modalities(videos, features, there)
    cases["metadata"] = without_metadata(videos), features
    nothing, masked = without_modalities(videos, features, there)
    cases["all content"] = without_metadata(nothing), masked
    clean = contenders.errors()
    figures = {"nothing": score(contenders, clean, settings, clean)}
    for name, (table_, left) in cases.items():
        errors = contenders.errors(videos=table_, features=left)
        figures[name] = score(contenders, errors, settings, clean)
    return figures


def attacked(
    contenders: Contenders, settings: dict[str, Any], attacks: list[Attack]
) -> dict[str, dict[str, float]]:
    """Every test video attacked, by each attack in turn."""
    clean = contenders.errors()
    figures = {"none": score(contenders, clean, settings, clean)}
    target, feedback = contenders.forecaster.task.target, contenders.feedback
    for attack in attacks:
        fakes = with_fakes(
            feedback, contenders.test, attack, target, counters(feedback), settings["seed"]
        )
        errors = contenders.errors(feedback=fakes)
        name = f"{attack.shape} of {attack.kind}s, {attack.share:.0%}"
        figures[name] = score(contenders, errors, settings, clean)
    return figures


def poisoned(
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    attacks: list[Attack],
    settings: dict[str, Any],
) -> pl.DataFrame:
    """Feedback to train on in which a part of the training and validation videos is attacked."""
    victims = examples.filter(pl.col("split") != "test")
    target = settings["task"].get("target", "view")
    seed = settings["seed"] + 1  # other draws than at test
    return with_mixed_fakes(feedback, victims, attacks, ATTACKED, target, counters(feedback), seed)


def counters(feedback: pl.DataFrame) -> bool:
    """Whether rows are readings of counters, and not single events."""
    return bool((feedback["count"] > 1).any())


def score(
    contenders: Contenders,
    errors: np.ndarray,
    settings: dict[str, Any],
    clean: np.ndarray | None = None,
) -> dict[str, float]:
    """The figures of one setting."""
    replications = settings.get("evaluate", {}).get("bootstrap", EvaluationSettings().bootstrap)
    return compare(errors, contenders.y, clean, replications, settings["seed"])


def heading(options: argparse.Namespace, contenders: Contenders) -> str:
    """What the tables show."""
    some = f" and {QUICK_VIDEOS} videos" if options.dataset in REAL else ""
    quick = f", quick settings{some}" if options.quick else ""
    split = contenders.forecaster.task.split
    return (
        f"{options.dataset}: {split} split, {len(contenders.y)} test videos{quick}; nMSE of the "
        "increment at the last horizon"
    )


def table(rows: dict[str, dict[str, float]]) -> str:
    """The figures of one section as a markdown table."""
    risen = any("rise_m3tr" in figures for figures in rows.values())
    columns = ["setting", "M3TR", "LightGBM CF", "ratio [95 % CI]"]
    columns += ["error of M3TR", "error of LightGBM CF"] if risen else []
    lines = [columns, ["---"] * len(columns)]
    for name, f in rows.items():
        ratio = f"{f['ratio']:.3f} [{f['ratio_lo']:.3f}, {f['ratio_hi']:.3f}]"
        cells = [name, f"{f['m3tr']:.4f}", f"{f['lightgbm']:.4f}", ratio]
        if risen:
            cells += [f"{f['rise_m3tr']:+.1%}", f"{f['rise_lightgbm']:+.1%}"]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
