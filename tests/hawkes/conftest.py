"""Processes with known parameters, and videos of known classes."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from m3tr.hawkes.histories import Histories
from tests.hawkes.trajectories import KINDS, VIDEOS, with_ages, world
from tests.oracles.builders import brute_force, classical, neural, random_events

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """The builders: `build.classical`, `.neural`, `.events`, `.brute_force`."""
    return SimpleNamespace(
        classical=classical, neural=neural, events=random_events, brute_force=brute_force
    )


@pytest.fixture(scope="session")
def simulated() -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Feedback with ages, examples and true classes of `VIDEOS` videos."""
    feedback, examples, of = world(VIDEOS, seed=11)
    return with_ages(feedback, examples), examples, of


@pytest.fixture(scope="session")
def young(simulated: tuple[pl.DataFrame, pl.DataFrame, np.ndarray]) -> Histories:
    """Their histories up to the age of observation."""
    rows, examples, _ = simulated
    return Histories.of(rows, examples, KINDS)
