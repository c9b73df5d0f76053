"""The sound of a file as one mono waveform."""

from typing import Any

import av
import numpy as np
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
        Whether `sound_seconds` have been heard; packets that follow are only looked at.
    seconds : float
        From the first to the end of the last packet, by their times; 0 without times.
    trouble : str
        Why there is no usable sound, set by `wave`; empty where nothing is wrong.
    """

    def __init__(self, stream: AudioStream, wanted: Wanted, clock: Clock) -> None:
        self.stream, self.clock = stream, clock
        self.context = stream.codec_context
        self.rate = wanted.sample_rate
        self.samples = int(wanted.sound_seconds * self.rate)
        self.full, self.trouble = False, ""
        self.packets = self.bad = self.have = self.waiting = 0
        self.parts: list[np.ndarray] = []
        self.batch: list[AudioFrame] = []
        self.form: tuple[str, str, int] | None = None
        self.resampler: AudioResampler | None = None
        self.first: int | None = None
        self.last = 0
        if self.context is None:
            self.trouble, self.full = "no decoder for the sound", True

    @property
    def seconds(self) -> float:
        if self.first is None or not self.stream.time_base:
            return 0.0
        return float((self.last - self.first) * self.stream.time_base)

    def hear(self, packet: Packet) -> None:
        """Take one packet; the empty one at the end of a stream empties the decoder."""
        pts = packet.pts
        if pts is not None:
            self.first = pts if self.first is None else min(self.first, pts)
            self.last = max(self.last, pts + (packet.duration or 0))
        if self.full:
            return
        self.packets += packet.size > 0
        try:
            frames = self.context.decode(packet if packet.size else None)
        except MemoryError:
            raise
        except av.InvalidDataError:
            self.bad += 1
            return
        except av.FFmpegError as error:
            self.trouble, self.full = f"damaged: {short(error)}", True
            return
        for frame in frames:
            self._take(frame)

    def _take(self, frame: AudioFrame) -> None:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self.form:  # a stream may change it anywhere
            self._resample(end=True)
            self.form = form
        self.batch.append(frame)
        self.waiting += frame.samples
        if self.waiting >= BATCH:
            self._resample()

    def _resample(self, end: bool = False) -> None:
        if self.batch and self.form is not None:
            self.clock.check()
            form, layout, rate = self.form
            arrays = [frame.to_ndarray() for frame in self.batch]
            self.batch, self.waiting = [], 0
            joined: Any = np.concatenate(arrays, axis=1)
            if layout == "mono" and rate == self.rate and form in ("flt", "fltp"):
                self._keep(joined)
            else:
                whole = AudioFrame.from_ndarray(joined, form, layout)
                whole.sample_rate = rate  # no time: gaps in the time stamps are closed, not filled
                if self.resampler is None:
                    self.resampler = AudioResampler(format="flt", layout="mono", rate=self.rate)
                for part in self.resampler.resample(whole):
                    self._keep(part.to_ndarray())
        if end and self.resampler is not None:
            for part in self.resampler.resample(None):
                self._keep(part.to_ndarray())
            self.resampler = None
        self.full = self.full or self.have >= self.samples

    def _keep(self, part: np.ndarray) -> None:
        self.parts.append(part.reshape(-1))
        self.have += part.size

    def wave(self) -> np.ndarray:
        """What was heard, (n,) float32 in [-1, 1]; empty, with `trouble` told, where useless."""
        if not self.trouble and self.bad > BAD_PACKETS * self.packets:
            self.trouble = f"damaged: {self.bad} of {self.packets} sound packets cannot be decoded"
        if self.trouble:
            return np.zeros(0, np.float32)
        self._resample(end=True)
        if not self.have:
            return np.zeros(0, np.float32)
        wave = np.concatenate(self.parts)[: self.samples]
        wave = np.nan_to_num(wave, posinf=0.0, neginf=0.0).clip(-1.0, 1.0)
        return wave.astype(np.float32, copy=False)
