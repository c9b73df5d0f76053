"""The sound of a file as one mono waveform."""

from collections.abc import Sequence

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from m3tr.features.frames import BAD_PACKETS
from m3tr.features.media import Clock, Wanted, short

BATCH = 65_536  # samples resampled at once: the resampler costs more a call than a sample


class Listener:
    """Decodes the packets of one track as they come, mixed to mono and resampled.

    Attributes
    ----------
    full : bool
        Whether nothing more is heard: `sound_seconds` have been, or there is `trouble`.
        Packets that follow are only looked at.
    seconds : float
        From the first to the end of the last packet, by their times; 0 without times.
    trouble : str
        Why there is no usable sound, complete after `wave`; empty where nothing is wrong.
    """

    def __init__(self, stream: AudioStream, wanted: Wanted, clock: Clock) -> None:
        self.stream, self.index, self.clock = stream, stream.index, clock
        self.context = stream.codec_context
        self.unit = float(stream.time_base or 0)  # the stream is gone once its file is closed
        self.rate = wanted.sample_rate
        self.samples = int(wanted.sound_seconds * self.rate)
        self.full, self.trouble = False, ""
        self.packets = self.bad = self.have = 0
        self.parts: list[np.ndarray] = []
        self.waiting = AudioFifo()
        self.resampler: AudioResampler | None = None
        self.first: int | None = None
        self.last = 0
        if self.context is None:
            self.trouble, self.full = "no decoder for the sound", True

    @property
    def seconds(self) -> float:
        return 0.0 if self.first is None else (self.last - self.first) * self.unit

    def hear(self, packet: Packet) -> None:
        """Take one packet; empty ones, which some containers hold anywhere, are passed over."""
        if not packet.size:
            return
        pts = packet.pts
        if pts is not None:
            self.first = pts if self.first is None else min(self.first, pts)
            self.last = max(self.last, pts + (packet.duration or 0))
        if not self.full:
            self.packets += 1
            self._decode(packet)

    def finish(self) -> None:
        """Take what the decoder still holds."""
        if not self.full and self.packets:
            self._decode(None)

    def _decode(self, packet: Packet | None) -> None:
        try:
            frames = self.context.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:  # decoders have more words for it than "invalid data"
            self.bad += 1
            return
        self._mix(*frames)

    def _mix(self, *frames: AudioFrame, end: bool = False) -> None:
        """Take frames, at the end all that wait; sound that cannot be mixed ends the hearing."""
        if self.trouble:
            return
        try:
            for frame in frames:
                self._take(frame)
            if end:
                self._resample(end=True)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError, RuntimeError) as error:  # more channels than it knows
            self.trouble = f"damaged: the sound cannot be resampled ({short(error)})"
            self.full = True

    def _take(self, frame: AudioFrame) -> None:
        frame.pts = None  # gaps in the time stamps are closed, not filled
        try:
            self.waiting.write(frame)
        except ValueError:  # another format: a stream may change it anywhere
            self._resample(end=True)
            self.waiting = AudioFifo()
            self.waiting.write(frame)
        if self.waiting.samples >= BATCH:
            self._resample()

    def _resample(self, end: bool = False) -> None:
        self.clock.check()
        frame = self.waiting.read() if self.waiting.samples else None
        if frame is not None:
            if self.resampler is None:
                self.resampler = AudioResampler(format="fltp", layout="mono", rate=self.rate)
            self._keep(self.resampler.resample(frame))
        if end and self.resampler is not None:
            self._keep(self.resampler.resample(None))
            self.resampler = None
        self.full = self.full or self.have >= self.samples

    def _keep(self, frames: Sequence[AudioFrame | None]) -> None:
        for frame in frames:
            if frame is not None:  # what a resampler with nothing to do gives back at the end
                # fltp, mono: one plane, looked at without a copy
                self.parts.append(
                    np.frombuffer(memoryview(frame.planes[0]), np.float32, frame.samples)
                )
                self.have += frame.samples

    def wave(self) -> np.ndarray:
        """What was heard, (n,) float32 in [-1, 1]; empty, with `trouble` told, where useless."""
        if not self.trouble and self.bad > BAD_PACKETS * self.packets:
            self.trouble = f"damaged: {self.bad} of {self.packets} sound packets cannot be decoded"
        if self.trouble:
            return np.zeros(0, np.float32)
        self._mix(end=True)
        if self.trouble or not self.have:
            return np.zeros(0, np.float32)
        parts = self.parts
        wave = (parts[0] if len(parts) == 1 else np.concatenate(parts))[: self.samples]
        if not np.isfinite(np.dot(wave, wave)):
            wave = np.nan_to_num(wave, posinf=0.0, neginf=0.0)
        return wave.clip(-1.0, 1.0).astype(np.float32, copy=False)
