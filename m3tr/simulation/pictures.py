"""Frames whose hue, shape and texture follow the topic, and whose clarity follows the quality."""

import numpy as np

WIDTH, HEIGHT, FPS = 64, 96, 8

# topic: (hue in turns, shape, texture)
LOOKS = {
    "cooking": (0.06, "disc", "rings"),
    "animals": (0.30, "triangle", "dots"),
    "music": (0.80, "ring", "stripes across"),
    "sport": (0.97, "star", "stripes down"),
    "travel": (0.56, "square", "slanted"),
    "study": (0.15, "cross", "checker"),
}


def clarity(quality: float) -> float:
    """Quality squeezed into (0, 1): what the picture and the sound show."""
    return float(1.0 / (1.0 + np.exp(-1.3 * quality)))


def render(topic: str, quality: float, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Frames of one video.

    Clarity raises contrast, sharpness of edges and travel of the shape; its lack adds shake and
    grain.

    Parameters
    ----------
    topic : str
        A key of `LOOKS`.
    quality : float
        Standardised.
    n_frames : int
        At `FPS` frames a second.
    rng : numpy Generator

    Returns
    -------
    (n_frames, HEIGHT, WIDTH, 3) uint8 array, RGB
    """
    hue, shape, texture = LOOKS[topic]
    q = clarity(quality)
    hue = hue + rng.normal(0, 0.02)
    t = np.arange(n_frames)[:, None, None] / FPS
    y = np.linspace(-1.5, 1.5, HEIGHT)[None, :, None]
    x = np.linspace(-1.0, 1.0, WIDTH)[None, None, :]

    shake = rng.normal(0, 0.06 * (1 - q), (2, n_frames, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, 2)
    reach = 0.15 + 0.35 * q
    u = x - reach * np.sin(1.6 * t + phase[0]) - shake[0]
    v = y - 1.4 * reach * np.cos(1.1 * t + phase[1]) - shake[1]

    wave = _texture(texture, x, y, rng.uniform(5.0, 6.5), 0.8 * q * t)
    ground = np.tanh((0.6 + 3.0 * q) * wave)  # sharper stripes at higher clarity
    edge = 0.03 + 0.25 * (1 - q)
    inside = 1.0 / (1.0 + np.exp(np.clip(_distance(shape, u, v, 0.5) / edge * 3.0, -30, 30)))

    contrast = 0.12 + 0.33 * q
    light = 0.5 + contrast * (0.45 * ground * (1 - inside) + 0.9 * inside)
    light = light + rng.normal(0, 0.03 * (1 - q), light.shape)
    saturation = np.broadcast_to(0.35 + 0.5 * q - 0.3 * inside, light.shape)
    turn = hue + 0.08 * inside
    return _rgb(turn, saturation, np.clip(light, 0.0, 1.0))


def _texture(name: str, x: np.ndarray, y: np.ndarray, f: float, drift: np.ndarray) -> np.ndarray:
    """A wave in [-1, 1] that varies over the frame and drifts in time."""
    if name == "rings":
        return np.sin(2 * f * np.hypot(x, y) - drift)
    if name == "dots":
        return np.sin(1.6 * f * x + drift) * np.sin(1.6 * f * y)
    if name == "stripes across":
        return np.sin(2 * f * y + drift) + 0 * x
    if name == "stripes down":
        return np.sin(2 * f * x + drift) + 0 * y
    if name == "slanted":
        return np.sin(1.5 * f * (x + y) + drift)
    return np.sign(np.sin(f * x + drift) * np.sin(f * y))  # checker


def _distance(name: str, u: np.ndarray, v: np.ndarray, r: float) -> np.ndarray:
    """Signed distance to a shape of radius `r`, negative inside (exact enough for drawing)."""
    if name == "disc":
        return np.hypot(u, v) - r
    if name == "ring":
        return np.abs(np.hypot(u, v) - r) - 0.35 * r
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) - 0.85 * r
    if name == "triangle":
        return np.maximum(np.abs(u) * 0.866 + v * 0.5, -v) - 0.6 * r
    if name == "cross":
        a, b = np.abs(u), np.abs(v)
        return np.minimum(np.maximum(a - r, b - 0.35 * r), np.maximum(b - r, a - 0.35 * r))
    return np.hypot(u, v) - r * (0.75 + 0.35 * np.cos(5 * np.arctan2(u, -v)))  # star


def _rgb(hue: np.ndarray, saturation: np.ndarray, light: np.ndarray) -> np.ndarray:
    """HSL to RGB bytes; three cosine-like ramps instead of six branches."""
    spread = saturation * np.minimum(light, 1.0 - light)
    channels = []
    for n in (0.0, 8.0, 4.0):
        k = (n + 12.0 * hue) % 12.0
        channels.append(light - spread * np.clip(np.minimum(k - 3.0, 9.0 - k), -1.0, 1.0))
    return (np.stack(channels, axis=-1) * 255.0 + 0.5).astype(np.uint8)
