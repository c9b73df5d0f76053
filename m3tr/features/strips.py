"""A few small pictures of a media file, for pages that show what a video looks like."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3tr.features.media import MediaError, Wanted, locate, read
from m3tr.features.pool import run
from m3tr.features.settings import LimitSettings

FRAMES, SIDE, QUALITY = 3, 112, 60  # about 3 KB a picture
SECONDS = 60.0  # wall time for one file


@dataclass(frozen=True)
class StripTask:
    """One media file, and what it may cost."""

    path: Path
    limits: LimitSettings


def strips(
    media: Mapping[str, str | None], root: Path, limits: LimitSettings | None = None
) -> dict[str, list[bytes]]:
    """JPEG pictures of videos, in order of time; none where a file is missing or broken.

    Files are decoded in another process, as the features stage does: it may crash or hang, and
    costs no more than its own pictures.

    Parameters
    ----------
    media : mapping of str to str or None
        Video and its media cell, a path relative to `root`.
    limits : LimitSettings, optional
        What one file may cost.

    Returns
    -------
    dict of str to list of bytes
        Only videos of which there is a picture.
    """
    limits, videos, tasks = limits or LimitSettings(), [], []
    for video, cell in media.items():
        try:
            path = locate(root.resolve(), cell, limits) if cell else None
        except MediaError:
            continue
        if path is not None:
            videos.append(video)
            tasks.append(StripTask(path, limits))
    made = run(draw, tasks, workers=1, seconds=SECONDS, memory=limits.max_memory, retries=0)
    found = {videos[i]: got for i, got in made if isinstance(got, list) and got}
    return {video: found[video] for video in media if video in found}


def draw(task: StripTask) -> list[bytes]:
    """The pictures of one file."""
    try:
        media = read(task.path, Wanted(FRAMES, SIDE, sample_rate=0), task.limits)
    except MediaError:
        return []
    return [jpeg(frame) for frame in media.frames]


def jpeg(picture: np.ndarray) -> bytes:
    """A picture (h, w, 3) uint8 as a JPEG file without any metadata."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()
