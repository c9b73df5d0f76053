"""Real MP4 files: H.264 video and AAC sound, and the files that are broken on purpose."""

import io
from pathlib import Path

import av
import numpy as np

from m3tr.simulation.pictures import FPS, HEIGHT, WIDTH, render
from m3tr.simulation.population import Video
from m3tr.simulation.sounds import RATE, play

# the bytes must depend on nothing but the input: one encoder thread, and no macroblock tree, which
# differed in 1 of 40 files when several encoders ran in one process (libx264 in PyAV 18.1)
VIDEO_OPTIONS = {
    "preset": "veryfast",
    "crf": "30",
    "threads": "1",
    "mbtree": "0",
    "flags": "+bitexact",
}
AUDIO_BITS_PER_SECOND = 16_000


def frame_count(video: Video) -> int:
    """Frames of the video, 20 to 28."""
    return 20 + video.media_seed % 9


def duration(video: Video) -> float:
    """Seconds."""
    return frame_count(video) / FPS


def write_media(video: Video, path: Path) -> int:
    """Write the video's file and return its size in bytes; a defect is written as it is listed."""
    if video.defect == "not a video":
        data = f"This file is not a video: {video.video_id}.\n".encode() * 20
    else:
        rng = np.random.default_rng([video.media_seed, 2])
        frames = render(video.topic, video.quality, frame_count(video), rng)
        sound = play(video.topic, video.quality, duration(video), rng)
        data = encode(frames, None if video.defect == "no audio" else sound)
        if video.defect == "truncated":
            data = data[: len(data) * 2 // 5]  # the index of an MP4 is at its end: it is lost
    path.write_bytes(data)
    return len(data)


def encode(frames: np.ndarray, sound: np.ndarray | None) -> bytes:
    """An MP4 file in memory.

    Parameters
    ----------
    frames : (T, HEIGHT, WIDTH, 3) uint8 array
    sound : (samples,) float32 array at `RATE` Hz, or None for a file without an audio stream
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        picture = container.add_stream("libx264", rate=FPS, options=VIDEO_OPTIONS)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        speech = None
        if sound is not None:
            speech = container.add_stream("aac", rate=RATE, layout="mono")
            speech.bit_rate = AUDIO_BITS_PER_SECOND
        for image in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if speech is not None and sound is not None:
            wave = av.AudioFrame.from_ndarray(sound[None, :], format="fltp", layout="mono")
            wave.sample_rate = RATE
            wave.pts = 0
            container.mux(speech.encode(wave))
            container.mux(speech.encode())
    return buffer.getvalue()
