"""Decoded frames to upright RGB pictures of square pixels."""

from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image


class Pictures:
    """Frames of one stream to RGB (h, w, 3) uint8, upright, longer side at most `side`.

    Parameters
    ----------
    stream : VideoStream
        Tells the shape of a pixel.
    side : int or None
        None keeps the stored size (the width is corrected where pixels are not square).
    """

    def __init__(self, stream: VideoStream, side: int | None) -> None:
        self.ratio = float(stream.sample_aspect_ratio or 1) or 1.0
        self.side = side
        self.scaler = VideoReformatter()  # kept: setting one up costs more than its use

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        width, height = frame.width * self.ratio, float(frame.height)
        longer = max(width, height)
        scale = min(1.0, self.side / longer) if self.side else 1.0
        size = max(1, round(width * scale)), max(1, round(height * scale))
        # area: no aliasing where pictures shrink; bicubic: what OpenCV converts with
        kernel = "AREA" if self.side else "BICUBIC"
        try:
            picture = self.scaler.reformat(
                frame, *size, format="rgb24", interpolation=kernel, threads=1
            ).to_ndarray()
        except (av.FFmpegError, ValueError) as error:  # the scaler refuses some tiny sizes
            if isinstance(error, MemoryError):
                raise
            picture = shrink(frame.to_ndarray(format="rgb24"), self.side)
        return np.ascontiguousarray(upright(picture, matrix(frame)))


def matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix of a frame: x' = a x + c y, y' = b x + d y, as (a, b, c, d)."""
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
    except (ValueError, KeyError):  # a kind of side data that PyAV does not know
        turns = round(frame.rotation / 90) % 4
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(memoryview(data)), np.int32).tolist()
    return a, b, c, d


def upright(picture: np.ndarray, display: tuple[int, int, int, int]) -> np.ndarray:
    """The picture turned by quarters and mirrored as the display matrix says."""
    a, b, c, d = display
    if abs(a) < abs(b):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def shrink(frame: np.ndarray, side: int | None) -> np.ndarray:
    """The picture with its longer side at most `side` pixels, the aspect ratio kept."""
    height, width = frame.shape[:2]
    scale = side / max(height, width) if side else 1.0
    if scale >= 1:
        return np.ascontiguousarray(frame)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
