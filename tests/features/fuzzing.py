"""Mutants of good files, and one attempt to read one; a module of its own, for the workers."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from corpus import INNER

from m3tr.features.media import MediaError, Wanted, read
from m3tr.features.settings import LimitSettings

INTERESTING = (0, 1, 7, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1)
LIMITS = LimitSettings(max_seconds_decoding=2, max_pixels=4_000_000)


@dataclass(frozen=True)
class Attempt:
    """One mutant: of which file, and the seed it is made from."""

    path: Path
    seed: int


def mutate(content: bytes, seed: int) -> bytes:
    """A few changes of one to many bytes; headers are preferred to the body."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        n = len(data)
        if n < 16:
            break
        # half of the changes hit the first or last 1.5 kB, where the headers and indices are
        where = int(rng.integers(n))
        edge = int(rng.integers(min(n, 1500)))
        where = (where, edge, n - 1 - edge, where)[int(rng.integers(4))]
        length = min(int(2 ** rng.uniform(0, 12)), n - where)
        other = int(rng.integers(n - length + 1))
        kind = int(rng.integers(7))
        if kind == 0:
            for place in rng.integers(n, size=int(2 ** rng.uniform(0, 6))):
                data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[where] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del data[where : where + length]
        elif kind == 3:
            data[where:where] = data[where : where + length]
        elif kind == 4:
            data[where : where + length] = bytes(length)
        elif kind == 5:
            part = bytes(data[where : where + length])
            data[where : where + length] = data[other : other + length]
            data[other : other + length] = part
        else:  # a size or count: big- or little-endian, of one to eight bytes
            width = int(2 ** rng.integers(4))
            value = INTERESTING[int(rng.integers(len(INTERESTING)))] % (1 << 8 * width)
            new = value.to_bytes(width, "big" if rng.random() < 0.7 else "little")
            data[where : where + width] = new
    return bytes(data)


def attempt(task: Attempt) -> tuple[str, str]:
    """("media" or "refused", reason). Anything but a `MediaError` is left to the caller."""
    content = mutate(task.path.read_bytes(), task.seed)
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(content)
        file.flush()
        try:
            media = read(Path(file.name), Wanted(3, sample_rate=8000), LIMITS)
        except MediaError as error:
            told = f"{error}"
            if file.name in told or INNER.search(told) or not (error.reason and error.remedy):
                raise ValueError(f"a reason that says too much or too little: {error}") from None
            return "refused", error.reason
    for frame in media.frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or not 1 <= max(frame.shape) <= 256:
            raise ValueError(f"a frame of {frame.dtype} {frame.shape}")
    if media.sound.ndim != 1 or not np.isfinite(media.sound).all():
        raise ValueError("a sound that is no waveform")
    if not media.frames and not media.sound.size:
        raise ValueError("neither picture nor sound, and no error")
    return "media", ""
