"""Network inputs whose label is a known function of a token and the base forecast in it."""

from collections.abc import Callable

import numpy as np
import pytest

from m3tr.model.inputs import Inputs, Tokens


def make_inputs(n: int, seed: int, noise: float = 0.1) -> tuple[Inputs, np.ndarray]:
    """N videos with two tokens and a base forecast that misses what the token says; H = 2."""
    rng = np.random.default_rng(seed)
    x = {m: rng.normal(size=(n, 1, d)).astype("f4") for m, d in (("metadata", 2), ("temporal", 3))}
    mask = {m: np.ones((n, 1), bool) for m in x}
    base = rng.normal(8, 1, (n, 2))
    x["temporal"] = np.append(x["temporal"], base[:, None].astype("f4") - 8, 2)
    signal = np.column_stack([x["temporal"][:, 0, 0], -x["temporal"][:, 0, 1]])
    y = base + signal + noise * rng.normal(size=(n, 2))
    nothing = Tokens({m: 0 * a for m, a in x.items()}, {m: ~a for m, a in mask.items()})
    summary = np.zeros((n, 4), "f4")
    return Inputs(Tokens(x, mask), nothing, summary, base, base), y


@pytest.fixture
def make() -> Callable[..., tuple[Inputs, np.ndarray]]:
    """`make(n, seed, noise)`."""
    return make_inputs
