"""Source: a videos table and a feedback table of one's own (docs/data.md)."""

from collections.abc import Sequence
from pathlib import Path

from m3tr.data.quarantine import clean
from m3tr.data.sources.base import Loaded
from m3tr.data.tables import read_feedback, read_videos


def load(src: Path, drop: Sequence[str] = ()) -> Loaded:
    """Read ``videos.parquet`` and ``feedback.parquet`` in `src`.

    Parameters
    ----------
    src : Path
    drop : sequence of str
        Columns of the videos table to leave out.

    Raises
    ------
    InputError
        A table as a whole is unusable.
    """
    videos = read_videos(src / "videos.parquet", drop)
    feedback = read_feedback(src / "feedback.parquet")
    return Loaded(*clean(videos, feedback))
