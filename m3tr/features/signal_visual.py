"""The default visual encoder: colour, layout, edges, texture, sharpness and motion of each frame.

128 numbers a frame, nothing fitted, nothing downloaded (docs/features.md, "What the default
encoders measure"). Histograms are compared on the Hellinger scale and centred on the flat
histogram, so that cosine similarities spread over both signs.
"""

from dataclasses import dataclass

import numpy as np
from numpy import fft
from PIL import Image

SIDE = 96  # every frame is measured at this size
DIMENSION = 128


@dataclass(frozen=True)
class SignalVisual:
    """Frames of one video -> tokens (T, 128) float32, one a frame."""

    dimension: int = DIMENSION

    def encode_frames(self, frames: list[np.ndarray]) -> np.ndarray:
        """Describe each frame; motion is measured against its neighbour in the list.

        Parameters
        ----------
        frames : list of ndarray (h, w, 3) uint8
            RGB, in order of time; at least one.

        Returns
        -------
        ndarray (T, 128) float32
        """
        small = [_resize(frame) for frame in frames]
        rgb = [np.asarray(image, np.float32) / 255 for image in small]
        grey = [picture @ np.array([0.299, 0.587, 0.114], np.float32) for picture in rgb]
        tokens = []
        for t in range(len(frames)):
            after = t + 1 if t + 1 < len(frames) else t - 1
            other = grey[after] if len(frames) > 1 else grey[t]
            parts = (
                *_colour(small[t], rgb[t]),
                _layout(rgb[t]),
                *_edges(grey[t]),
                _texture(grey[t]),
                _texture(grey[t].reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))),
                _motion(grey[t], other),
            )
            tokens.append(np.concatenate(parts))
        return np.asarray(tokens, np.float32)


def centred(counts: np.ndarray) -> np.ndarray:
    """Square roots of the shares minus those of the flat histogram; zeros where nothing counts."""
    total = counts.sum()
    if total <= 1e-9:
        return np.zeros(counts.shape)
    return np.sqrt(counts / total) - np.sqrt(1 / counts.size)


def _resize(frame: np.ndarray) -> Image.Image:
    image = Image.fromarray(frame)
    if image.size == (SIDE, SIDE):
        return image
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _colour(image: Image.Image, rgb: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hue, saturation and value histograms (12 + 8 + 8) and moments of R, G, B (9)."""
    bands = (np.asarray(band, np.int64).reshape(-1) for band in image.convert("HSV").split())
    hue, saturation, value = bands
    vivid = saturation * value / 255**2
    hues = np.bincount((hue + 11) % 256 * 12 // 256, weights=vivid, minlength=12)
    flat = np.ascontiguousarray(rgb.reshape(-1, 3).T)
    mean = flat.mean(1)
    rest = flat - mean[:, None]
    square = rest * rest
    std = np.sqrt(square.mean(1))
    skew = (square * rest).mean(1) / (std + 0.05) ** 3
    return (
        centred(hues) * np.sqrt(vivid.mean()),  # the hue of a grey picture says nothing
        centred(np.bincount(saturation // 32, minlength=8).astype(float)),
        centred(np.bincount(value // 32, minlength=8).astype(float)),
        np.concatenate([mean - 0.5, 2 * std - 0.5, np.tanh(skew / 2) / 2]),
    )


def _layout(rgb: np.ndarray) -> np.ndarray:
    """Mean colour of each cell of a 3 x 3 grid, minus the mean colour (27)."""
    cell = SIDE // 3
    grid = rgb.reshape(3, cell, SIDE, 3).mean(1).reshape(3, 3, cell, 3).mean(2)
    return (grid - grid.mean((0, 1))).reshape(-1)


def _edges(grey: np.ndarray) -> tuple[np.ndarray, ...]:
    """Orientations in a 2 x 2 grid (32) and six numbers on contrast and sharpness."""
    around = np.pad(grey, 1, mode="edge")
    down = around[2:] - around[:-2]
    right = around[:, 2:] - around[:, :-2]
    dy = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 4  # Sobel
    dx = (right[:-2] + 2 * right[1:-1] + right[2:]) / 4
    strength = np.hypot(dx, dy)
    angle = (np.floor(np.arctan2(dy, dx) / np.pi * 8 + 0.5) % 8).astype(np.int64)
    half = SIDE // 2
    cells = []
    for rows in (slice(0, half), slice(half, SIDE)):
        for columns in (slice(0, half), slice(half, SIDE)):
            here = strength[rows, columns]
            counts = np.bincount(
                angle[rows, columns].reshape(-1), weights=here.reshape(-1), minlength=8
            )
            cells.append(centred(counts) / 2 * min(1.0, 10 * here.mean()))
    cross = around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2]
    laplacian = cross - 4 * grey
    shares = np.bincount((grey * 31.99).astype(np.int64).reshape(-1), minlength=32) / grey.size
    entropy = -np.sum(shares * np.log2(shares + 1e-12)) / 5
    low, high = np.percentile(grey, (5, 95))
    scalars = np.array(
        [
            _level(laplacian.var()),
            _level(float(np.mean(strength**2))),
            np.mean(strength > 0.1),
            entropy,
            high - low,
            min(1.0, 4 * float(grey.std())),
        ]
    )
    return (*cells, scalars - 0.5)


def _level(power: float) -> float:
    """A power between 1e-6 and 1 on a logarithmic scale from 0 to 1."""
    return float(np.clip(1 + np.log10(power + 1e-6) / 6, 0, 1))


def _texture(grey: np.ndarray) -> np.ndarray:
    """Rotation-invariant uniform local binary patterns, 8 neighbours (10)."""
    centre = grey[1:-1, 1:-1] + 0.01  # a margin: noise on flat ground is no texture
    height, width = grey.shape
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    bits = np.stack([grey[y : y + height - 2, x : x + width - 2] > centre for y, x in ring]).astype(
        np.int64
    )
    changes = np.abs(bits - np.roll(bits, 1, axis=0)).sum(0)
    pattern = np.where(changes <= 2, bits.sum(0), 9)
    return centred(np.bincount(pattern.reshape(-1), minlength=10).astype(float))


def _motion(grey: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Difference to the neighbouring sampled frame and the shift that explains it best (6)."""
    if other is grey:
        return np.zeros(6)
    difference = np.abs(other - grey)
    cell = SIDE // 3
    cells = difference.reshape(3, cell, 3, cell).mean((1, 3))
    cross = fft.rfft2(other - other.mean()) * np.conj(fft.rfft2(grey - grey.mean()))
    peak = fft.irfft2(cross / (np.abs(cross) + 1e-6), s=grey.shape)
    dy, dx = np.unravel_index(int(np.argmax(peak)), peak.shape)
    shift = [abs((int(d) + SIDE // 2) % SIDE - SIDE // 2) / (SIDE // 2) for d in (dx, dy)]
    a, b = (
        np.bincount((g * 15.99).astype(np.int64).reshape(-1), minlength=16) for g in (grey, other)
    )
    cut = 0.5 * np.abs(a - b).sum() / grey.size
    mean = float(difference.mean())
    return np.array(
        [
            np.sqrt(mean),
            np.sqrt(float(cells.max())) - np.sqrt(mean),
            cut,
            shift[0] * min(1.0, 20 * mean),
            shift[1] * min(1.0, 20 * mean),
            float(np.clip(peak.max(), 0, 1)) * min(1.0, 20 * mean),
        ]
    )
