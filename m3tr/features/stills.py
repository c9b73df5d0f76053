"""A still picture is a video of one frame; an animated one has as many as it has pictures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from m3tr.features.frames import on_screen
from m3tr.features.media import (
    Clock,
    Media,
    MediaError,
    Wanted,
    check_duration,
    check_pixels,
)
from m3tr.features.pictures import shrink
from m3tr.features.settings import LimitSettings

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP")
MOVING = ("PNG", "WEBP", "AVIF")  # the further pictures of a JPEG (MPO) are previews and gain maps
BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
FRAME_MS = 100.0  # of an animation that does not say how long a picture stays


def is_still(path: Path) -> bool:
    """Whether the first bytes are those of a JPEG, PNG, WebP, BMP, AVIF or HEIC."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise MediaError(f"the file cannot be opened ({error.strerror})") from None
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == bytes(4))  # reserved, always zero
        or (head[4:8] == b"ftyp" and head[8:] in BRANDS)
    )


def read_still(path: Path, wanted: Wanted, clock: Clock, limits: LimitSettings) -> Media:
    """Pictures of an image file, upright by its EXIF tag; silent, and without a length if still."""
    if not wanted.frames:
        return Media([], np.zeros(0, np.float32), 0, 0.0)
    with _own_limit(), _open(path) as image:
        check_pixels(*image.size, limits)
        pixels = image.size[0] * image.size[1]
        if image.format in MOVING and getattr(image, "is_animated", False):
            frames, seconds = _animation(image, wanted, clock, limits)
        else:
            if wanted.side:  # JPEG: decodes at a fraction of the size
                image.draft("RGB", (wanted.side, wanted.side))
            frames, seconds = [_picture(image, wanted.side)], 0.0
    clock.check()
    return Media(frames, np.zeros(0, np.float32), pixels, seconds)


@contextmanager
def _own_limit() -> Iterator[None]:
    """Pillow's ceiling on pixels lifted: `limits.max_pixels` decides alone."""
    ceiling = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = ceiling


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise MediaError(
            "not a picture that can be read",
            "save it as JPEG, PNG or WebP, or empty the media cell",
        ) from None


def _animation(
    image: Image.Image, wanted: Wanted, clock: Clock, limits: LimitSettings
) -> tuple[list[np.ndarray], float]:
    """The pictures on screen at the wanted times, and the seconds of one turn."""
    lasting: list[float] = []

    def note(place: int) -> None:
        # a duration of 0 would put two pictures at the same time
        lasting.append(float(image.info.get("duration") or FRAME_MS))

    _through(image, range(getattr(image, "n_frames", 1)), note, clock)
    ends = np.cumsum(lasting)
    check_duration(ends[-1] / 1000, limits)
    picks = on_screen(ends - lasting, float(ends[-1]), wanted.frames).tolist()
    frames: list[np.ndarray] = []
    _through(image, picks, lambda place: frames.append(_picture(image, wanted.side)), clock)
    return frames, float(ends[-1]) / 1000


def _through(
    image: Image.Image, places: "range | list[int]", use: Callable[[int], None], clock: Clock
) -> None:
    """`use` at each of the places, in order: animations are decoded from the front."""
    for place in places:
        clock.check()
        image.seek(place)
        image.load()
        use(place)


def _picture(image: Image.Image, side: int | None) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits, which a conversion would clip
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode in ("P", "LA", "PA", "RGBA"):  # see-through parts are shown on black
        upright = upright.convert("RGBA")
        ground = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(ground, upright)
    return shrink(np.asarray(upright.convert("RGB")), side)
