"""The sound of a file as one mono waveform."""

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from m3tr.features.frames import BAD_PACKETS
from m3tr.features.media import Clock, MediaError


def waveform(
    container: InputContainer, sample_rate: int, max_seconds: float, clock: Clock
) -> tuple[np.ndarray, float]:
    """The first audio stream, mixed to mono and resampled.

    Parameters
    ----------
    container : InputContainer
        Freshly opened.
    sample_rate : int
        Hz of the result.
    max_seconds : float
        Reading stops there.
    clock : Clock
        Bounds the processor time.

    Returns
    -------
    wave : ndarray (n,) float32
        In [-1, 1]; empty where the file has no sound.
    seconds : float
        `n / sample_rate`.
    """
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        return np.zeros(0, np.float32), 0.0
    resampler = AudioResampler(format="flt", layout="mono", rate=sample_rate)
    wanted = int(max_seconds * sample_rate)
    parts: list[np.ndarray] = []
    have = packets = bad = 0

    def take(frame: AudioFrame | None) -> int:
        chunks = [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
        parts.extend(chunks)
        return sum(chunk.size for chunk in chunks)

    for packet in container.demux(stream):
        clock.check()
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            bad += 1
            continue
        for frame in frames:
            frame.pts = None  # gaps in the time stamps are closed, not filled
            have += take(frame)
        if have >= wanted:
            break
    if bad > BAD_PACKETS * packets:
        raise MediaError(f"damaged: {bad} of {packets} sound packets cannot be decoded")
    if have:
        take(None)
    wave = np.concatenate(parts)[:wanted] if parts else np.zeros(0)
    wave = np.nan_to_num(wave, posinf=0.0, neginf=0.0).clip(-1.0, 1.0).astype(np.float32)
    return wave, wave.size / sample_rate
