"""One small world with media for the whole folder."""

from pathlib import Path

import pytest

from m3tr.simulation.settings import SimulationSettings
from m3tr.simulation.world import simulate_dataset

SETTINGS = SimulationSettings(videos=80, seed=3)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("world")
    return out, simulate_dataset(out, SETTINGS)
