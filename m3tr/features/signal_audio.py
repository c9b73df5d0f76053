"""The default audio encoder: spectrum, pitch classes, loudness and onsets of each segment.

88 numbers a segment, nothing fitted, nothing downloaded (docs/features.md, "What the default
encoders measure").
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy import fft

WINDOW_SECONDS = 0.128
HOPS = 4  # hops in a window
MEL_BANDS = 40
MIN_SEGMENT_SECONDS = 0.25
DIMENSION = 88


@dataclass(frozen=True)
class SignalAudio:
    """Waveform of one video -> tokens (T, 88) float32, one a segment."""

    segments: int = 4
    sample_rate: int = 16_000
    dimension: int = DIMENSION

    def encode_audio(self, wave: np.ndarray) -> np.ndarray:
        """Describe up to `segments` equal parts of the waveform.

        Parameters
        ----------
        wave : ndarray (n,) float32
            Mono, at `sample_rate`; at least one sample.

        Returns
        -------
        ndarray (T, 88) float32
            Fewer than `segments` rows where a part would be shorter than a quarter of a second.
        """
        parts = cut(wave, self.segments, self.sample_rate)
        return np.asarray([_describe(part, self.sample_rate) for part in parts], np.float32)


def cut(wave: np.ndarray, segments: int, sample_rate: int) -> list[np.ndarray]:
    """The waveform in at most `segments` equal parts of a quarter of a second or more."""
    count = min(segments, max(1, int(wave.size / (MIN_SEGMENT_SECONDS * sample_rate))))
    length = wave.size // count
    return [wave[i * length : (i + 1) * length] for i in range(count)]


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """The mel scale, `2595 log10(1 + f / 700)`."""
    return 2595 * np.log10(1 + np.asarray(hertz, float) / 700)


@lru_cache(maxsize=8)
def mel_filters(size: int, sample_rate: int) -> np.ndarray:
    """Triangular filters (40, size // 2 + 1) from 40 Hz to the Nyquist frequency, unit area."""
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
    marks = np.linspace(mel(40.0), mel(sample_rate / 2), MEL_BANDS + 2)
    hertz = 700 * (10 ** (marks / 2595) - 1)
    low, mid, high = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    rise, fall = (frequencies - low) / (mid - low), (high - frequencies) / (high - mid)
    weights = np.maximum(0, np.minimum(rise, fall))
    return weights / (weights.sum(1, keepdims=True) + 1e-9)


@lru_cache(maxsize=8)
def chroma_filters(size: int, sample_rate: int) -> np.ndarray:
    """Share of each bin from 65 Hz to 4 kHz in the 12 pitch classes, (12, size // 2 + 1)."""
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
    audible = (frequencies >= 65) & (frequencies <= 4000)
    pitch = 12 * np.log2(np.where(audible, frequencies, 440.0) / 440.0) + 69
    distance = (pitch[None] - np.arange(12)[:, None] + 6) % 12 - 6
    return np.where(audible, np.exp(-0.5 * (distance / 0.5) ** 2), 0.0)


def _power(wave: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Power spectra (frames, size // 2 + 1) of a Hann window; full-scale sine has power 1."""
    padded = np.pad(wave.astype(np.float32), (0, max(0, size - wave.size)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    return np.abs(fft.rfft(frames * window, axis=1) * (2 / window.sum())) ** 2


def _describe(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    size = 2 * round(WINDOW_SECONDS * sample_rate / 2)
    hop = size // HOPS
    power = _power(wave, size, hop)
    bands = np.log10(power @ mel_filters(size, sample_rate).T + 1e-9)
    shape = bands.mean(0)
    spread = bands.std(0).reshape(-1, 2).mean(1)
    pitch = chroma_filters(size, sample_rate) @ power.sum(0)
    chroma = np.sqrt(pitch / pitch.sum()) - np.sqrt(1 / 12) if pitch.sum() > 1e-12 else np.zeros(12)
    return np.concatenate(
        [
            (shape - shape.mean()) / 4,
            spread / 2 - 0.25,
            chroma,
            _spectral(power, sample_rate),
            _loudness(wave, hop),
            _onsets(bands, hop / sample_rate),
        ]
    )


def _spectral(power: np.ndarray, sample_rate: int) -> np.ndarray:
    """Centroid, bandwidth, roll-off and flatness: mean and spread over the segment (8)."""
    frequencies = np.linspace(0, 1, power.shape[1])
    loud = power + 1e-12
    total = loud.sum(1)
    centroid = loud @ frequencies / total
    bandwidth = np.sqrt(np.maximum(0, loud @ frequencies**2 / total - centroid**2))
    reached = np.cumsum(loud, axis=1) >= 0.85 * total[:, None]
    rolloff = frequencies[np.argmax(reached, axis=1)]
    flatness = np.exp(np.log(loud).mean(1)) / loud.mean(1)
    rows = np.stack([np.sqrt(centroid), bandwidth, np.sqrt(rolloff), np.sqrt(flatness)])
    return np.concatenate([rows.mean(1) - 0.3, 2 * rows.std(1)])


def _loudness(wave: np.ndarray, hop: int) -> np.ndarray:
    """Level, its spread, crest, share of silence, zero crossings and their spread (6)."""
    usable = wave[: max(1, wave.size // hop) * hop]
    frames = usable.reshape(-1, hop) if usable.size >= hop else usable[None]
    rms = np.sqrt(np.mean(frames.astype(float) ** 2, axis=1))
    level = np.log10(rms + 1e-4) / 4 + 1  # 0 = -80 dB, 1 = full scale
    signs = np.signbit(frames)
    crossings = np.sum(signs[:, 1:] != signs[:, :-1], axis=1) / frames.shape[1]
    crest = float(np.abs(wave).max()) / (np.sqrt(np.mean(wave.astype(float) ** 2)) + 1e-4)
    return np.array(
        [
            level.mean() - 0.5,
            2 * level.std(),
            np.tanh(crest / 6) - 0.5,
            np.mean(rms < 0.01),
            np.sqrt(crossings.mean()) - 0.3,
            2 * crossings.std(),
        ]
    )


def _onsets(bands: np.ndarray, seconds: float) -> np.ndarray:
    """Rise of the log spectrum from one window to the next: its mean, and onsets a second (2)."""
    if len(bands) < 2:
        return np.zeros(2)
    flux = np.maximum(0, np.diff(bands, axis=0)).mean(1)
    around = np.pad(flux, 1)
    peaks = (flux > around[:-2]) & (flux >= around[2:])
    onsets = np.sum(peaks & (flux >= max(0.1, flux.mean() + flux.std())))
    return np.array([np.tanh(flux.mean()), np.tanh(onsets / (len(bands) * seconds) / 4)])
