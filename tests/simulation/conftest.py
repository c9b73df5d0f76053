"""Two small worlds for the whole folder: one with media, one of tables only."""

from pathlib import Path

import pytest

from m3tr.simulation.settings import SimulationSettings
from m3tr.simulation.world import simulate_dataset

SETTINGS = SimulationSettings(videos=80, seed=3)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("world")
    return out, simulate_dataset(out, SETTINGS)


@pytest.fixture(scope="session")
def table_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables")
    simulate_dataset(out, SimulationSettings(videos=300, seed=11, media=False))
    return out
