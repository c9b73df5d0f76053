"""Processes with known parameters, for the tests of the point processes."""

from types import SimpleNamespace

import pytest
import torch

from tests.oracles.builders import brute_force, classical, neural, random_events

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """The builders: `build.classical`, `.neural`, `.events`, `.brute_force`."""
    return SimpleNamespace(
        classical=classical, neural=neural, events=random_events, brute_force=brute_force
    )
