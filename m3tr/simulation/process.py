"""The feedback process: branching, trajectory classes, piecewise-constant immigration.

Time is age in days. Formulas in docs/simulation.md, "Feedback".
"""

from dataclasses import dataclass

import numpy as np

KINDS = ("view", "like", "comment", "share")
CLASSES = ("steady", "early surge", "late surge", "rollercoaster", "sparse")

CELL_DAYS = 1.0 / 24.0  # immigration is constant within an hour
CLOCK_SWING, CLOCK_PEAK_HOUR = 0.4, 20.0

BETA = np.array([8.0, 0.5])  # decay rates per day: e-folding times of three hours and two days

# expected direct children [scale, receiver, source]; the zeros are true zeros
BRANCHING = np.array(
    [
        [  # from:  view  like comment share      to
            [0.16, 0.20, 0.25, 0.90],  # view
            [0.09, 0.00, 0.00, 0.00],  # like
            [0.02, 0.00, 0.18, 0.00],  # comment
            [0.00, 0.02, 0.00, 0.05],  # share
        ],
        [
            [0.15, 0.10, 0.00, 1.40],
            [0.03, 0.00, 0.00, 0.00],
            [0.00, 0.02, 0.10, 0.00],
            [0.02, 0.04, 0.00, 0.00],
        ],
    ]
)


@dataclass(frozen=True)
class Shape:
    """Trajectory class: a decaying trend and Gaussian surges; weights are numbers of immigrants.

    `mix` is the share of each kind among immigrants: what a class shows on its first day besides
    its volume.
    """

    trend_weight: float
    trend_days: float
    surge_age: tuple[float, ...] = ()
    surge_width: tuple[float, ...] = ()
    surge_weight: tuple[float, ...] = ()
    mix: tuple[float, float, float, float] = (0.94, 0.03, 0.02, 0.01)


SHAPES = {
    "steady": Shape(1.6, 8.0),
    "early surge": Shape(0.25, 5.0, (0.3,), (0.3,), (1.1,), (0.88, 0.09, 0.02, 0.01)),
    "late surge": Shape(0.5, 5.0, (3.6,), (0.6,), (1.0,), (0.85, 0.03, 0.02, 0.10)),
    "rollercoaster": Shape(
        0.25, 6.0, (0.4, 2.6, 4.8), (0.2, 0.25, 0.3), (0.4, 0.5, 0.45), (0.82, 0.03, 0.13, 0.02)
    ),
    "sparse": Shape(0.3, 8.0),
}


@dataclass(frozen=True)
class Profile:
    """One video's immigration; the fields are columns of truth.parquet. Ages and widths in days."""

    volume: float
    trend_weight: float
    trend_days: float
    surge_age: tuple[float, ...]
    surge_width: tuple[float, ...]
    surge_weight: tuple[float, ...]
    mix: tuple[float, ...]


def jumps() -> np.ndarray:
    """`alpha` in the convention of `m3tr.hawkes.simulate`, (M, K, K): branching times decay."""
    return BRANCHING * BETA[:, None, None]


def spectral_radius() -> float:
    """Of the branching matrix summed over the time scales; below one: subcritical."""
    return float(np.abs(np.linalg.eigvals(BRANCHING.sum(axis=0))).max())


def draw_profile(trajectory_class: str, volume: float, rng: np.random.Generator) -> Profile:
    """The class's shape with small individual variation in ages, widths and weights."""
    shape = SHAPES[trajectory_class]
    n = len(shape.surge_age)
    return Profile(
        volume=volume,
        trend_weight=shape.trend_weight * float(np.exp(rng.normal(0, 0.08))),
        trend_days=shape.trend_days * float(np.exp(rng.normal(0, 0.08))),
        surge_age=tuple(np.maximum(np.array(shape.surge_age) + rng.normal(0, 0.1, n), 0.0)),
        surge_width=tuple(np.array(shape.surge_width) * np.exp(rng.normal(0, 0.08, n))),
        surge_weight=tuple(np.array(shape.surge_weight) * np.exp(rng.normal(0, 0.1, n))),
        mix=shape.mix,
    )


def immigration(
    profile: Profile, publication_hour: float, end: float
) -> tuple[np.ndarray, np.ndarray]:
    """Piecewise-constant immigration on `(0, end]`.

    Parameters
    ----------
    profile : Profile
    publication_hour : float
        UTC hour of day at age 0; audiences follow the clock.
    end : float
        Last age, days.

    Returns
    -------
    times : (P,) left ends of the cells, days
    rates : (P, K) events a day; each cell holds the value at its middle
    """
    times = cells(end)
    rate = profile.volume * density(profile, times) * clock(publication_hour, times)
    return times, rate[:, None] * np.array(profile.mix)


def cells(end: float) -> np.ndarray:
    """(P,) left ends of the cells that cover `(0, end]`, days."""
    return np.arange(max(1, int(np.ceil(end / CELL_DAYS - 1e-9)))) * CELL_DAYS


def density(profile: Profile, times: np.ndarray) -> np.ndarray:
    """(P,) trend and surges at the middle of the cells, a day; times volume and clock: immigrants.

    `times` (P,) are the cells' left ends, days.
    """
    middle = times + CELL_DAYS / 2
    density = profile.trend_weight * np.exp(-middle / profile.trend_days) / profile.trend_days
    for age, width, weight in zip(
        profile.surge_age, profile.surge_width, profile.surge_weight, strict=True
    ):
        z = (middle - age) / width
        density += weight * np.exp(-0.5 * z**2) / (width * np.sqrt(2 * np.pi))
    return density


def clock(publication_hour: float, times: np.ndarray) -> np.ndarray:
    """(P,) factor of the hour of day, UTC, at the middle of the cells; one on average."""
    hour = publication_hour + 24.0 * (times + CELL_DAYS / 2)
    return 1.0 + CLOCK_SWING * np.cos(2 * np.pi * (hour - CLOCK_PEAK_HOUR) / 24.0)
