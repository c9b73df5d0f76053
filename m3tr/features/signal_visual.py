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
        # all frames at once: an array operation costs more to call than to do at this size
        small = [_resize(frame) for frame in frames]
        pixels = np.stack([np.asarray(image) for image in small])
        rgb = np.divide(pixels, np.float32(255), dtype=np.float32)
        # no product of matrices: its last bits depend on where the array lies in memory
        red, green, blue = (rgb[..., i] for i in range(3))
        grey = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
        pairs = grey[:, :, ::2] + grey[:, :, 1::2]
        half = (pairs[:, ::2] + pairs[:, 1::2]) / 4
        hsv = np.stack([np.asarray(image.convert("HSV")) for image in small])
        parts = (
            _colour(hsv),
            _moments(pixels),
            _layout(rgb),
            _edges(grey),
            _contrast(grey),
            _texture(grey),
            _texture(half),
            _motion(grey),
        )
        return np.concatenate(parts, axis=1).astype(np.float32)


def centred(counts: np.ndarray) -> np.ndarray:
    """Square roots of the shares minus those of the flat histogram; zeros where nothing counts.

    Parameters
    ----------
    counts : ndarray (..., bins)
    """
    total = counts.sum(-1, keepdims=True)
    shares = counts / np.where(total > 1e-9, total, 1.0)
    return np.where(total > 1e-9, np.sqrt(shares) - np.sqrt(1 / counts.shape[-1]), 0.0)


def histogram(codes: np.ndarray, bins: int, weights: np.ndarray | None = None) -> np.ndarray:
    """How often (or how heavily) each code below `bins` occurs in each row, (T, bins)."""
    rows = len(codes)
    offset = np.arange(rows)[:, None] * bins
    places = (codes.reshape(rows, -1) + offset).reshape(-1)
    heavy = None if weights is None else weights.reshape(-1)
    return np.bincount(places, heavy, rows * bins).reshape(rows, bins).astype(float)


def _resize(frame: np.ndarray) -> Image.Image:
    image = Image.fromarray(frame)
    if image.size == (SIDE, SIDE):
        return image
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


HUE_BINS = np.zeros((256, 12))  # red, which lies at both ends of the scale, is one bin
HUE_BINS[np.arange(256), (np.arange(256) + 11) % 256 * 12 // 256] = 1


def _colour(hsv: np.ndarray) -> np.ndarray:
    """Hue, saturation and value histograms (T, 12 + 8 + 8)."""
    hue, saturation, value = (hsv[..., i].reshape(len(hsv), -1) for i in range(3))
    vivid = saturation * value.astype(np.float32)
    hues = histogram(hue, 256, vivid) @ HUE_BINS
    depth = np.sqrt(vivid.mean(1, dtype=float) / 255**2)  # the hue of a grey picture says nothing
    both = histogram(saturation // 32 * 8 + value // 32, 64).reshape(-1, 8, 8)
    return np.concatenate(
        [centred(hues) * depth[:, None], centred(both.sum(2)), centred(both.sum(1))], axis=1
    )


def _moments(pixels: np.ndarray) -> np.ndarray:
    """Mean, spread and skewness of R, G, B (T, 9)."""
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), 3, -1)
    rest = np.divide(planes, np.float32(255), dtype=np.float32)
    mean = rest.mean(2)
    rest -= mean[..., None]
    square = rest * rest
    std = np.sqrt(square.mean(2))
    skew = np.einsum("tcn,tcn->tc", square, rest) / SIDE**2 / (std + 0.05) ** 3
    return np.concatenate([mean - 0.5, 2 * std - 0.5, np.tanh(skew / 2) / 2], axis=1)


def _layout(rgb: np.ndarray) -> np.ndarray:
    """Mean colour of each cell of a 3 x 3 grid, minus the mean colour (T, 27)."""
    cell = SIDE // 3
    rows = rgb.reshape(-1, 3, cell, SIDE * 3).mean(2)
    grid = rows.reshape(-1, 3, 3, cell, 3).mean(3)
    return (grid - grid.mean((1, 2), keepdims=True)).reshape(len(rgb), -1)


def _edges(grey: np.ndarray) -> np.ndarray:
    """Orientations in a 2 x 2 grid (T, 32), energy and density of edges, sharpness (T, 3)."""
    around = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = around[:, 2:] - around[:, :-2]
    right = around[:, :, 2:] - around[:, :, :-2]
    dy = (down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]) / 4  # Sobel
    dx = (right[:, :-2] + 2 * right[:, 1:-1] + right[:, 2:]) / 4
    power = dx * dx + dy * dy
    strength = np.sqrt(power)
    half = SIDE // 2
    code = _orientation(dx, dy).reshape(-1, 2, half, 2, half)
    code += np.array([[0, 8], [16, 24]], np.uint8)[None, :, None, :, None]
    weights = histogram(code, 32, strength).reshape(-1, 4, 8)
    loud = np.minimum(1.0, 10 * weights.sum(-1, keepdims=True) / half**2)
    cross = around[:, 2:, 1:-1] + around[:, :-2, 1:-1] + around[:, 1:-1, 2:] + around[:, 1:-1, :-2]
    laplacian = cross - 4 * grey
    scalars = (
        _level(laplacian.var((1, 2))),
        _level(power.mean((1, 2))),
        (strength > 0.1).mean((1, 2)),
    )
    cells = (centred(weights) / 2 * loud).reshape(-1, 32)
    return np.concatenate([cells, np.stack(scalars, axis=1) - 0.5], axis=1)


def _orientation(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The nearest of eight directions a half turn, uint8; comparisons instead of an arc tangent."""
    flat, steep = np.abs(dx), np.abs(dy)
    eighth = np.zeros(dx.shape, np.uint8)
    for odd in (1, 3, 5, 7):
        eighth += steep > flat * np.float32(np.tan(odd * np.pi / 16))
    return np.where((dx < 0) != (dy < 0), (8 - eighth) & 7, eighth)


def _contrast(grey: np.ndarray) -> np.ndarray:
    """Entropy of the grey levels, contrast, spread (T, 3)."""
    shares = histogram((grey * 31.99).astype(np.uint8), 32) / SIDE**2
    entropy = -np.sum(shares * np.log2(shares + 1e-12), axis=1) / 5
    low, high = np.percentile(grey.reshape(len(grey), -1), (5, 95), axis=1)
    spread = np.minimum(1.0, 4 * grey.std((1, 2)))
    return np.stack([entropy, high - low, spread], axis=1) - 0.5


def _level(power: np.ndarray) -> np.ndarray:
    """Powers between 1e-6 and 1 on a logarithmic scale from 0 to 1."""
    return np.clip(1 + np.log10(power + 1e-6) / 6, 0, 1)


RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


def _uniform_patterns() -> np.ndarray:
    """Of which of the 10 kinds each of the 256 neighbourhoods is, (256, 10) of 0 and 1."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = np.abs(bits - np.roll(bits, 1, axis=1)).sum(1)
    return np.eye(10)[np.where(changes <= 2, bits.sum(1), 9)]


PATTERNS = _uniform_patterns()


def _texture(grey: np.ndarray) -> np.ndarray:
    """Rotation-invariant uniform local binary patterns, 8 neighbours (T, 10)."""
    centre = grey[:, 1:-1, 1:-1] + 0.01  # a margin: noise on flat ground is no texture
    _, height, width = grey.shape
    code = np.zeros(centre.shape, np.uint8)
    for bit, (y, x) in enumerate(RING):
        brighter = grey[:, y : y + height - 2, x : x + width - 2] > centre
        code |= brighter.view(np.uint8) << np.uint8(bit)
    return centred(histogram(code, 256) @ PATTERNS)


def _motion(grey: np.ndarray) -> np.ndarray:
    """Difference to the next sampled frame (the last: to the one before) and the shift that
    explains it best (T, 6)."""
    count = len(grey)
    if count == 1:
        return np.zeros((1, 6))
    after = np.minimum(np.arange(count) + 1, count - 1)
    after[-1] = count - 2
    difference = np.abs(grey[after] - grey)
    cell = SIDE // 3
    cells = difference.reshape(-1, 3, cell, 3, cell).mean((2, 4)).reshape(count, -1)
    spectra = fft.rfft2(grey - grey.mean((1, 2), keepdims=True))
    cross = spectra[after] * np.conj(spectra)
    peak = fft.irfft2(cross / (np.abs(cross) + 1e-6), s=grey.shape[1:]).reshape(count, -1)
    dy, dx = np.divmod(np.argmax(peak, axis=1), SIDE)
    half = SIDE // 2
    shift = [np.abs((d + half) % SIDE - half) / half for d in (dx, dy)]
    levels = histogram((grey * 15.99).astype(np.uint8), 16)
    cut = 0.5 * np.abs(levels - levels[after]).sum(1) / SIDE**2
    mean = difference.mean((1, 2))
    clear = np.minimum(1.0, 20 * mean)
    columns = (
        np.sqrt(mean),
        np.sqrt(cells.max(1)) - np.sqrt(mean),
        cut,
        shift[0] * clear,
        shift[1] * clear,
        np.clip(peak.max(1), 0, 1) * clear,
    )
    return np.stack(columns, axis=1)
