"""Sound whose pitch, chord and rhythm follow the topic, and whose noise follows the quality."""

import numpy as np

from m3tr.simulation.pictures import clarity

RATE = 16_000

# topic: (root in Hz, semitones of the chord, beats a second, harmonics)
SOUNDS = {
    "cooking": (220.0, (0, 4, 7), 2.0, 2),
    "animals": (660.0, (0, 5), 3.5, 1),
    "music": (330.0, (0, 4, 7, 11), 2.5, 4),
    "sport": (110.0, (0, 7), 5.0, 5),
    "travel": (262.0, (0, 7, 12), 1.0, 1),
    "study": (440.0, (0, 3, 7), 1.5, 3),
}


def play(topic: str, quality: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Mono samples at `RATE` Hz, (round(seconds * RATE),) float32 in [-1, 1].

    Parameters
    ----------
    topic : str
        A key of `SOUNDS`.
    quality : float
        Standardised; low quality means noise and an unsteady pitch.
    seconds : float
    rng : numpy Generator
    """
    root, chord, beats, harmonics = SOUNDS[topic]
    q = clarity(quality)
    t = np.arange(round(seconds * RATE)) / RATE
    root = root * 2.0 ** (rng.normal(0, 0.5) / 12.0)
    wobble = 0.01 * (1 - q) * np.sin(2 * np.pi * 5.0 * t)
    tone = np.zeros_like(t)
    for semitone in chord:
        f = root * 2.0 ** (semitone / 12.0)
        start = rng.uniform(0, 2 * np.pi)
        for h in range(1, harmonics + 1):
            tone += np.sin(2 * np.pi * h * f * t * (1 + wobble) + start) / h
    tone /= np.abs(tone).max() + 1e-9
    beat = (beats * t + rng.uniform()) % 1.0
    envelope = 0.25 + 0.75 * np.exp(-4.0 * beat)
    noise = rng.normal(0, 0.25 * (1 - q) ** 1.5, t.shape)
    return np.clip(0.6 * tone * envelope + noise, -1.0, 1.0).astype(np.float32)
