"""Keys like those of a real bank, as many as wanted, and how hard their neighbours are to find."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

PARTS = {"trajectory": 64, "visual": 64, "audio": 64, "text": 64}
D = sum(PARTS.values())
BLOCK = 65_536
# Fitted to the keys of youtube-2021 (6,583 videos): its trajectory keys have a participation ratio
# of 4.4, an intrinsic dimension of 6.0 and a relative contrast of 4.6; these 4.0, 7.2 and 4.5.
# Content: 38 and 1.14 there (hashed words, nearly isotropic), 6.9 and 1.46 on the sample (219);
# these 20.6 and 1.37, which is where published sets of deep and word embeddings lie.
TRAJECTORY = {"topics": 2_000, "slope": 1.8, "within": 0.12}
CONTENT = {"topics": 20_000, "slope": 1.1, "within": 0.4}
ZIPF = 0.9
UNEVEN = 0.3  # of the log distance of an item from its topic
ABSENT = 0.1  # of the audio and of the texts


class World:
    """Topics of Zipf sizes; centres and scatter have power-law spectra in different bases."""

    def __init__(self, seed: int = 0) -> None:
        rng, self.seed = np.random.default_rng(seed), seed
        self.centre: list[np.ndarray] = []
        self.scatter: list[np.ndarray] = []
        for part, d in PARTS.items():
            kind = TRAJECTORY if part == "trajectory" else CONTENT
            spectrum = np.arange(1, d + 1) ** (-kind["slope"] / 2)
            spectrum /= np.linalg.norm(spectrum)
            one = np.linalg.qr(rng.normal(size=(d, d)))[0]
            other = one if part == "trajectory" else np.linalg.qr(rng.normal(size=(d, d)))[0]
            drawn = rng.normal(size=(int(kind["topics"]), d)) * spectrum
            self.centre.append((drawn @ one * np.sqrt(1 - kind["within"])).astype(np.float32))
            scatter = np.diag(spectrum) @ other * np.sqrt(kind["within"])
            self.scatter.append(scatter.astype(np.float32))

    def block(self, number: int, n: int = BLOCK) -> np.ndarray:
        """Joint keys (n, D), float32; the same for the same number."""
        rng, parts = np.random.default_rng([self.seed, 1, number]), []
        topic = {"trajectory": _zipf(rng, len(self.centre[0]), n)}
        content = _zipf(rng, len(self.centre[1]), n)  # its modalities speak of the same
        for i, (part, d) in enumerate(PARTS.items()):
            near = np.exp(UNEVEN * rng.standard_normal((n, 1), np.float32))
            noise = rng.standard_normal((n, d), np.float32) @ self.scatter[i]
            key = self.centre[i][topic.get(part, content)] + near * noise
            key /= np.linalg.norm(key, axis=1, keepdims=True)
            if part in ("audio", "text"):
                key[rng.random(n) < ABSENT] = 0
            parts.append(key)
        return np.hstack(parts)

    def keys(self, path: Path, n: int) -> np.ndarray:
        """The first `n` keys in a file of their own, memory-mapped."""
        held = np.lib.format.open_memmap(path, "w+", np.float32, (n, D))
        for number, start in enumerate(range(0, n, BLOCK)):
            held[start : start + BLOCK] = self.block(number)[: n - start]
        held.flush()
        return np.load(path, mmap_mode="r")

    def queries(self, n: int) -> np.ndarray:
        """Keys (n, D) that are no items."""
        return self.block(1_000_000, n)


def weights(eta: float) -> np.ndarray:
    """The weight of each dimension, shape (D,): content is the mean over its modalities."""
    trajectory, *content = PARTS.values()
    each = (1 - eta) / len(content)
    return np.repeat([eta, *[each] * len(content)], [trajectory, *content]).astype(np.float32)


def difficulty(
    nearest: Callable[[np.ndarray, int], np.ndarray], queries: np.ndarray, mean: np.ndarray
) -> dict[str, float]:
    """Intrinsic dimension and relative contrast at the ten nearest (Levina and Bickel; He et al.).

    Distances are those of the parts scaled by the root of their weights at eta 0.5, so that the
    nearest are the ones of highest score among keys of equal length.
    """
    q = queries[(queries != 0).reshape(len(queries), len(PARTS), -1).any(2).all(1)]
    w = weights(0.5)
    score = nearest(q * w, 20)
    own = (q * q * w).sum(1)[:, None]
    distance = np.sqrt(np.maximum(2 * (own - score), 1e-9))
    dimension = 1 / np.log(distance[:, -1:] / distance[:, :-1]).mean()
    far = np.sqrt(np.maximum(2 * (own[:, 0] - (q * w) @ mean), 0))
    contrast = (far / distance[:, 9]).mean()
    return {
        "intrinsic_dimension": round(float(dimension), 1),
        "contrast": round(float(contrast), 2),
    }


def _zipf(rng: np.random.Generator, topics: int, n: int) -> np.ndarray:
    share = np.arange(1, topics + 1) ** -ZIPF
    ends = np.cumsum(share / share.sum())
    return np.minimum(np.searchsorted(ends, rng.random(n)), topics - 1)
