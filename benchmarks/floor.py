"""What reading the files costs at least: PyAV alone, one decoder thread, a pool of processes.

Imports stay at PyAV: the processes of the pool pay for them.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path

import av
from av.container import InputContainer


def everything(path: str) -> int:
    """Decode every frame and all sound, one pass over the file; the number of frames."""
    with _open(path) as container:
        streams = [*container.streams.video[:1], *container.streams.audio[:1]]
        return sum(isinstance(frame, av.VideoFrame) for frame in container.decode(streams))


def sampled(path: str, n: int = 6) -> int:
    """The frames at the middles of `n` equal parts, one seek each; no sound."""
    with _open(path) as container:
        if not container.streams.video:
            return 0
        video = container.streams.video[0]
        unit, shown = float(video.time_base or 0), 1 / float(video.average_rate or 25)
        length = video.duration * unit if video.duration else (container.duration or 0) / 1e6
        for i in range(n):
            wanted = (i + 0.5) / n * length
            container.seek(int(wanted / unit), stream=video)
            for frame in container.decode(video):
                if frame.time is not None and frame.time + shown > wanted:
                    break
    return n


def sampled_and_sound(path: str, n: int = 6) -> int:
    """As `sampled`, and all sound."""
    with _open(path) as container:
        for _ in container.decode(audio=0) if container.streams.audio else ():
            pass
    return sampled(path, n)


def over(function: Callable[[str], int], paths: Sequence[Path], processes: int) -> int:
    """Sum of `function` over the files in a pool of fresh processes, which end with it."""
    pool = multiprocessing.get_context("spawn").Pool(processes)
    with pool:
        total = sum(pool.imap_unordered(function, [str(path) for path in paths]))
        pool.close()
        pool.join()  # their processor time counts only once they have ended
    return total


def _open(path: str) -> InputContainer:
    container = av.open(path)
    for stream in (*container.streams.video, *container.streams.audio):
        stream.codec_context.thread_count = 1
    return container
