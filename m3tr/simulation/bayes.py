"""The forecast of somebody who knows how worlds are made, but not what is hidden in this one.

Class, volume noise and individual shape of a video are integrated out given its feedback up to the
age: importance sampling within strata (one a class), with the exact likelihood of the process.
Shapes are drawn from the prior; the volume of each is integrated by quadrature around its mode.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.hawkes.latent_numba import excitation
from m3tr.simulation.hidden import log_likelihoods
from m3tr.simulation.population import (
    LOG_FOLLOWERS_SD,
    QUALITY_SD,
    SKILL_SD,
    TOPIC_EFFECT,
    TOPICS,
    class_probabilities,
)
from m3tr.simulation.process import (
    BETA,
    CELL_DAYS,
    CLASSES,
    SHAPES,
    cells,
    clock,
    density,
    draw_profile,
    jumps,
)
from m3tr.simulation.replay import Case, cases, continuations, kind_number, world_file
from m3tr.simulation.settings import SimulationSettings

KNOWN = ("causes", "nothing")
NODES = 7  # of the quadrature over the volume
ENOUGH = 100.0  # effective draws of a stratum
MINOR = 0.01  # strata below this probability may do with fewer
DOUBLINGS = 5


class Stratum(NamedTuple):
    """A trajectory class and the normal prior of the log volume within it."""

    probability: float
    trajectory_class: str
    log_volume: float
    sd: float


class Shapes:
    """Draws of a class's shape without volume and clock, made once and shared by all videos."""

    def __init__(self, end: float, seed: int) -> None:
        self.times = cells(end)
        self.seed = seed
        self._drawn: dict[str, np.ndarray] = {}
        self._rng = {c: np.random.default_rng([seed, i]) for i, c in enumerate(CLASSES)}

    def of(self, trajectory_class: str, n: int) -> np.ndarray:
        """The first `n` draws, (n, P): `process.density` in each cell."""
        drawn = self._drawn.get(trajectory_class, np.empty((0, len(self.times))))
        if len(drawn) < n:
            rng = self._rng[trajectory_class]
            more = [
                density(draw_profile(trajectory_class, 1.0, rng), self.times)
                for _ in range(n - len(drawn))
            ]
            drawn = self._drawn[trajectory_class] = np.concatenate([drawn, more])
        return drawn[:n]


@dataclass(frozen=True)
class Posterior:
    """Weighted draws of what is hidden; `weights` sum to one.

    Row `i` of a stratum is shape `i` of its class, columns are the quadrature's nodes.
    """

    strata: Sequence[Stratum]
    log_volumes: list[np.ndarray]  # (draws, NODES) a stratum
    weights: list[np.ndarray]  # (draws, NODES) a stratum

    def class_probabilities(self) -> np.ndarray:
        """(5,) of `CLASSES`."""
        p = np.zeros(len(CLASSES))
        for stratum, w in zip(self.strata, self.weights, strict=True):
            p[CLASSES.index(stratum.trajectory_class)] += w.sum()
        return p

    def effective_draws(self) -> np.ndarray:
        """(strata,) effective sample size of the shapes in each stratum."""
        sizes = []
        for w in self.weights:
            shape = w.sum(axis=1)
            total = (shape**2).sum()
            sizes.append(shape.sum() ** 2 / total if total > 0 else float(len(w)))
        return np.array(sizes)

    def probabilities(self) -> np.ndarray:
        """(strata,) of each stratum."""
        return np.array([w.sum() for w in self.weights])


def bayes_forecast(
    out_dir: Path,
    examples: pl.DataFrame,
    n_paths: int = 200,
    draws: int = 256,
    target: str = "view",
    seed: int = 0,
    known: str = "causes",
) -> np.ndarray:
    """`E[log2(1 + N(a, H]) | causes of the content, feedback up to a]` under the true process.

    The causes (topic, quality, followers, hour of publication) count as known, though content shows
    topic and quality with noise; fake likes are left out. So no forecast that uses content and the
    same past can have a lower expected squared error. At age 0 it is the forecast of the prior.

    Parameters
    ----------
    out_dir, examples, target
        As of `oracle.best_forecast`.
    n_paths : int
        Continuations of an example, each with hidden values drawn from the posterior.
    draws : int
        Shapes drawn of each class; doubled, up to 32 times as many, in classes that matter until
        100 of them are effective.
    seed : int
    known : str
        "causes"; or "nothing": topic, quality and followers are integrated out as well, what
        remains is the hour and the feedback of this video.

    Returns
    -------
    (N, n_horizons) float64 array, log2 units, rows as in `examples`

    Raises
    ------
    InputError
        As of `oracle.best_forecast`, and where `known`, `n_paths` or `draws` is none that it takes.
    """
    kind = kind_number(target, "bayes_forecast")
    if known not in KNOWN:
        raise InputError(f"bayes_forecast: known is {known!r}; choose one of {KNOWN}.")
    if n_paths < 1 or draws < 1:
        raise InputError("bayes_forecast: n_paths and draws must be at least 1.")
    settings = world_settings(out_dir)
    shapes = Shapes(_last_age(examples), seed)
    forecasts = []
    for i, case in enumerate(cases(out_dir, examples, "Bayes forecast")):
        found = posterior(case, strata(case.truth, settings, known), shapes, draws)
        rng = np.random.default_rng([seed, i])
        forecasts.append(_forecast(case, found, shapes, kind, n_paths, rng))
    return np.array(forecasts, dtype=np.float64)


def strata(truth: dict[str, Any], settings: SimulationSettings, known: str) -> list[Stratum]:
    """What is hidden of a video before its feedback, from its row of truth.parquet."""
    if known == "causes":
        p = class_probabilities(truth["topic"], settings.topic_sharpness)
        expected = float(np.log(truth["volume"]) - truth["volume_noise"])
        return [
            Stratum(float(p[k]), c, expected, settings.volume_noise) for k, c in enumerate(CLASSES)
        ]
    sd = np.hypot(settings.volume_noise, settings.follower_effect * LOG_FOLLOWERS_SD)
    sd = float(np.hypot(sd, settings.quality_effect * np.hypot(SKILL_SD, QUALITY_SD)))
    return [
        Stratum(float(p) / len(TOPICS), c, settings.log_volume + TOPIC_EFFECT[topic], sd)
        for topic in TOPICS
        for c, p in zip(CLASSES, class_probabilities(topic, settings.topic_sharpness), strict=True)
    ]


def posterior(case: Case, prior: Sequence[Stratum], shapes: Shapes, draws: int) -> Posterior:
    """The hidden values given the feedback up to the age.

    Parameters
    ----------
    case : Case
        `truth` is read for the hour of publication only.
    prior : sequence of Stratum
    shapes : Shapes
        Its cells reach the age.
    draws : int
        Shapes of each stratum at first; see `bayes_forecast`.
    """
    whole, once = np.array([0, len(case.times)]), np.ones(len(case.times))
    excited = excitation(whole, case.times, case.kinds, once, jumps(), BETA)
    hours = clock(case.truth["publication_hour"], shapes.times)
    # an event at the end of a cell belongs to it
    cell = np.clip(np.ceil(case.times / CELL_DAYS).astype(np.int64) - 1, 0, len(hours) - 1)
    exposure = hours * np.clip(case.age - shapes.times, 0.0, CELL_DAYS)
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(NODES)
    log_nodes = np.log(node_weights / np.sqrt(2 * np.pi)) + nodes**2 / 2

    def weigh(stratum: Stratum, n: int) -> tuple[np.ndarray, np.ndarray]:
        shape = shapes.of(stratum.trajectory_class, n)
        mix = np.array(SHAPES[stratum.trajectory_class].mix)
        with np.errstate(divide="ignore"):  # a topic may rule a class out
            prior_weight = np.log(stratum.probability / n)
        log_volume, log_weight = log_likelihoods(
            shape, cell, hours[cell] * mix[case.kinds], excited,
            shape @ exposure * mix.sum(), stratum.log_volume, stratum.sd, nodes, log_nodes,
        )  # fmt: skip
        return log_volume, log_weight + prior_weight

    size = [draws] * len(prior)
    parts = [weigh(s, draws) for s in prior]
    for _ in range(DOUBLINGS):
        found = _normalised(prior, parts)
        poor = (found.effective_draws() < ENOUGH) & (found.probabilities() >= MINOR)
        if not poor.any():
            break
        for j in map(int, np.flatnonzero(poor)):
            size[j] *= 2
            parts[j] = weigh(prior[j], size[j])
    return _normalised(prior, parts)


def world_settings(out_dir: Path) -> SimulationSettings:
    """The settings that a world was made with."""
    truth = json.loads(world_file(out_dir, "truth.json").read_text())
    return SimulationSettings.model_validate(truth["settings"])


def _last_age(examples: pl.DataFrame) -> float:
    ages = pl.concat([examples["age_days"], examples["horizon_days"].explode()]).drop_nulls()
    return float(ages.to_numpy().max(initial=0.0))


def _normalised(
    prior: Sequence[Stratum], parts: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Posterior:
    highest = max(w.max() for _, w in parts)
    weights = [np.exp(w - highest) for _, w in parts]
    total = sum(w.sum() for w in weights)
    return Posterior(prior, [v for v, _ in parts], [w / total for w in weights])


def _forecast(
    case: Case,
    found: Posterior,
    shapes: Shapes,
    kind: int,
    n_paths: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """(n_horizons,) mean over paths, each with hidden values drawn by systematic resampling."""
    cumulated = np.cumsum(np.concatenate([w.ravel() for w in found.weights]))
    points = (rng.random() + np.arange(n_paths)) / n_paths * cumulated[-1]
    chosen, times = np.unique(np.searchsorted(cumulated, points), return_counts=True)
    seeds = rng.integers(2**62, size=len(chosen))
    first = np.cumsum([0] + [w.size for w in found.weights])
    hours = clock(case.truth["publication_hour"], shapes.times)
    paths = []
    for flat, n, seed in zip(chosen, times, seeds, strict=True):
        j = int(np.searchsorted(first, flat, side="right")) - 1
        stratum, (row, node) = found.strata[j], divmod(int(flat - first[j]), NODES)
        shape = shapes.of(stratum.trajectory_class, row + 1)[row]
        rate = np.exp(found.log_volumes[j][row, node]) * shape * hours
        mu = shapes.times, rate[:, None] * np.array(SHAPES[stratum.trajectory_class].mix)
        paths.append(continuations(case, mu, kind, int(seed), int(n)))
    return np.concatenate(paths).mean(axis=0)
