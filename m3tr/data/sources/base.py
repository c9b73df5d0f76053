"""What a source hands over: clean tables, rejected rows, figures."""

from dataclasses import dataclass, field
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Loaded:
    """A dataset as a source read it.

    Attributes
    ----------
    videos, feedback : DataFrame
        Clean tables (docs/data.md).
    rejected : DataFrame
        `table`, `row`, `video_id`, `reason`, `remedy`.
    figures : dict
        What the source has to tell beside.
    files : dict
        File name of each table, for messages; by default ``<table>.parquet``.
    """

    videos: pl.DataFrame
    feedback: pl.DataFrame
    rejected: pl.DataFrame
    figures: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
