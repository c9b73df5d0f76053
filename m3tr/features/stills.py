"""A still picture is a video of one frame."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from m3tr.features.media import FRAME_SIDE, MediaError, check_pixels
from m3tr.features.settings import LimitSettings

FORMATS = ("JPEG", "PNG", "WEBP")


def is_still(path: Path) -> bool:
    """Whether the first bytes are those of a JPEG, PNG or WebP."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise MediaError(f"the file cannot be opened ({error.strerror})") from None
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or head[:4] == b"RIFF"
        and head[8:] == b"WEBP"
    )


def read_still(path: Path, limits: LimitSettings) -> np.ndarray:
    """RGB (h, w, 3) uint8, upright by its EXIF tag, longer side at most 256 pixels."""
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        raise MediaError(f"a picture of more than {limits.max_pixels} pixels") from None
    with image:
        check_pixels(*image.size, limits)
        image.draft("RGB", (FRAME_SIDE, FRAME_SIDE))  # JPEG: decodes at a fraction of the size
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("P", "LA", "PA", "RGBA"):  # see-through parts are shown on black
            upright = upright.convert("RGBA")
            ground = Image.new("RGBA", upright.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(ground, upright)
        return shrink(np.asarray(upright.convert("RGB")))


def shrink(frame: np.ndarray) -> np.ndarray:
    """The picture with its longer side at most 256 pixels, the aspect ratio kept."""
    height, width = frame.shape[:2]
    scale = FRAME_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(frame)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
