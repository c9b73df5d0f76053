"""Feedback of one video: the Hawkes process of its audience and bursts of bought likes."""

from dataclasses import dataclass

import numpy as np

from m3tr.hawkes.simulate import simulate
from m3tr.simulation.population import Video
from m3tr.simulation.process import BETA, immigration, jumps
from m3tr.simulation.settings import SimulationSettings

MICROSECONDS_PER_DAY = 86_400_000_000
RESOLUTION = 1_000  # the log's clock: milliseconds


@dataclass(frozen=True)
class Burst:
    """Likes bought at `age` days: they excite nothing and no view comes with them."""

    age: float
    minutes: float
    times: np.ndarray  # (n,) int64, microseconds since publication


def draw_feedback(
    video: Video, index: int, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray]:
    """True feedback of one video over the followed days.

    Returns
    -------
    times : (n,) int64, microseconds since publication, ascending, rounded up to a millisecond
    kinds : (n,) int64, index into `process.KINDS`
    """
    end = settings.followed_days
    mu_times, mu_rates = immigration(video.profile, video.publication_hour, end)
    # a seed per video far from its neighbours' and from other worlds'
    seed = int(np.random.default_rng([settings.seed, 3, index]).integers(2**62))
    ages, kinds = simulate(mu_times, mu_rates, jumps(), BETA, end, seed, max_events=1_000_000)
    return to_microseconds(ages), kinds


def draw_burst(video: Video, index: int, settings: SimulationSettings) -> Burst | None:
    """A burst of fake likes, in a share of the videos; None elsewhere."""
    rng = np.random.default_rng([settings.seed, 4, index])
    if rng.random() >= settings.fake_burst_share:
        return None
    age = float(rng.uniform(0.02, 0.6)) * settings.followed_days
    minutes = float(rng.uniform(15, 60))
    count = int(rng.integers(40, 201))
    ages = age + np.sort(rng.uniform(0, minutes / 1440.0, count))
    return Burst(age, minutes, to_microseconds(ages))


def to_microseconds(ages: np.ndarray) -> np.ndarray:
    """Ages in days as whole milliseconds, in microseconds; rounded up so that none is at age 0."""
    return np.ceil(ages * (MICROSECONDS_PER_DAY / RESOLUTION)).astype(np.int64) * RESOLUTION
