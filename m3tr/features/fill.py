"""Fill the cache with what the rows of the videos table need; equal contents are encoded once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.features.cache import Cache, text_key
from m3tr.features.encoders import build
from m3tr.features.engine import Job, LocalEngine, workers
from m3tr.features.media import MediaError, check_area, check_duration, locate
from m3tr.features.settings import FeatureSettings
from m3tr.features.shelf import Entry
from m3tr.features.worker import Outcome
from m3tr.progress import track

MEDIA = ("visual", "audio")
TEXT_COLUMNS = ("title", "description")  # text tokens 0 and 1
TEXTS_A_CHUNK = 1_024

Refusal = tuple[int, str, str]  # row of the videos table, reason, remedy
Keys = list[tuple[bytes | None, ...]]  # by row: the contents whose tokens make the row's


@dataclass
class Tally:
    """Media files named, found in the cache and decoded; texts encoded."""

    files: int = 0
    cached: int = 0
    decoded: int = 0
    texts: int = 0


class Filler:
    """Finds the contents of every row and encodes those that the cache lacks.

    Attributes
    ----------
    refused : list of (row, reason, remedy)
        What cannot be used.
    tally : Tally
    """

    def __init__(
        self, videos: pl.DataFrame, data_dir: Path | None, settings: FeatureSettings, cache: Cache
    ) -> None:
        self.videos, self.data_dir, self.settings, self.cache = videos, data_dir, settings, cache
        self.cells: list[str | None] = []
        if "media" in videos.columns:
            self.cells = videos["media"].cast(pl.String).to_list()
        self.refused: list[Refusal] = []
        self.tally = Tally()

    def texts(self) -> Keys:
        """Encode the texts that the cache lacks; their keys by row."""
        columns = [
            self.videos[name].cast(pl.String).to_list()
            if name in self.videos.columns
            else [None] * len(self.videos)
            for name in TEXT_COLUMNS
        ]
        longest, shelf = self.settings.text.max_characters, self.cache.shelves["text"]
        missing: dict[bytes, str] = {}
        keys: Keys = []
        for row in zip(*columns, strict=True):
            cut = [text[:longest] if text and text.strip() else None for text in row]
            keys.append(tuple(None if text is None else text_key(text) for text in cut))
            for key, text in zip(keys[-1], cut, strict=True):
                if key is not None and text is not None and key not in shelf:
                    missing[key] = text
        if missing:
            encoder = build(self.settings, visual=False, audio=False).text
            assert encoder is not None
            # in the order of the table: what is read together later lies together
            todo = list(missing.items())
            chunks = range(0, len(todo), TEXTS_A_CHUNK)
            for start in track(chunks, "texts"):
                chunk = todo[start : start + TEXTS_A_CHUNK]
                vectors = encoder.encode_texts([text for _, text in chunk])
                for (key, _), vector in zip(chunk, vectors, strict=True):
                    shelf.add(key, Entry(vector[None]))
        self.tally.texts = len(missing)
        return keys

    def media(self, modalities: list[str]) -> dict[str, Keys]:
        """Decode and encode what the cache lacks of the media files; their keys by row."""
        keys: dict[str, Keys] = {m: [()] * len(self.videos) for m in modalities}
        if not modalities:
            return keys
        rows_of = self._locate()
        self.tally.files = len(rows_of)
        todo: dict[bytes, tuple[Job, list[int]]] = {}  # equal files are read once
        for path, digest in self.cache.digests(list(rows_of), workers(self.settings)):
            rows = rows_of[path]
            if isinstance(digest, OSError):
                told = f"the file cannot be opened ({digest.strerror})"
                self._refuse(rows, told, "make it readable, or empty the media cell")
                continue
            missing = tuple(m for m in modalities if digest not in self.cache.shelves[m])
            if missing:
                todo.setdefault(digest, (Job(path, missing), []))[1].extend(rows)
            else:
                self.tally.cached += 1
            for m in modalities:
                for row in rows:
                    keys[m][row] = (digest,)
        self._within_limits(keys, rows_of, todo)
        for digest, outcome, rows in self._run(todo):
            self.tally.decoded += not outcome.broken
            for m in todo[digest][0].modalities:
                if m in outcome.broken:
                    for row in rows:
                        keys[m][row] = ()
                    continue
                tokens = outcome.arrays.get(m, np.zeros((0, 0), np.float32))
                self.cache.shelves[m].add(digest, Entry(tokens, outcome.pixels, outcome.seconds))
            for reason, remedy in set(outcome.broken.values()):
                self._refuse(rows, reason, remedy)
        return keys

    def _locate(self) -> dict[Path, list[int]]:
        """The rows of every media file that may be read."""
        rows_of: dict[Path, list[int]] = {}
        root = None if self.data_dir is None else Path(self.data_dir).resolve()
        for row, cell in enumerate(self.cells):
            if not cell:
                continue
            try:
                if root is None:
                    raise MediaError(
                        "no data folder was given", "give the folder of the media files"
                    )
                path = locate(root, cell, self.settings.limits)
                rows_of.setdefault(path, []).append(row)
            except MediaError as error:
                self._refuse([row], error.reason, error.remedy)
        return rows_of

    def _run(
        self, todo: dict[bytes, tuple[Job, list[int]]]
    ) -> Iterator[tuple[bytes, Outcome, list[int]]]:
        if not todo:
            return
        jobs = [job for job, _ in todo.values()]
        digests = list(todo)
        with _engine(self.settings, jobs) as engine:
            results = track(
                engine.run(jobs), "media", len(jobs), failed=lambda found: bool(found[1].broken)
            )
            for index, outcome in results:
                yield digests[index], outcome, todo[digests[index]][1]

    def _within_limits(
        self,
        keys: dict[str, Keys],
        rows_of: dict[Path, list[int]],
        todo: dict[bytes, tuple[Job, list[int]]],
    ) -> None:
        """Judge what the cache holds by the limits of today; what is refused is not read either."""
        limits = self.settings.limits
        for rows in rows_of.values():
            digest = next((keys[m][rows[0]][0] for m in keys if keys[m][rows[0]]), None)
            if digest is None:
                continue
            shelves = [self.cache.shelves[m] for m in keys if digest in self.cache.shelves[m]]
            facts = [shelf.facts(digest) for shelf in shelves]
            try:
                check_area(max((pixels for pixels, _ in facts), default=0), limits)
                check_duration(max((seconds for _, seconds in facts), default=0.0), limits)
            except MediaError as error:
                self._refuse(rows, error.reason, error.remedy)
                todo.pop(digest, None)
                for m in keys:
                    for row in rows:
                        keys[m][row] = ()

    def _refuse(self, rows: Sequence[int], reason: str, remedy: str) -> None:
        for row in rows:
            self.refused.append((row, f"{_shown(self.cells[row] or '')}: {reason}", remedy))


def _shown(cell: str) -> str:
    """A media cell as it can be told: one line, printable, not endless."""
    plain = "".join(c if c.isprintable() else "\ufffd" for c in cell)
    return plain if len(plain) <= 120 else f"{plain[:80]}...{plain[-30:]}"


def _engine(settings: FeatureSettings, jobs: Sequence[Job]) -> Any:
    """The engine of the settings, with the encoders that the jobs need."""
    if settings.engine == "ray":
        from m3tr.features.ray_engine import RayEngine

        return RayEngine(settings, workers(settings))
    need = {m for job in jobs for m in job.modalities}
    encoders = build(settings, visual="visual" in need, audio="audio" in need, text=False)
    return LocalEngine(settings, encoders, workers(settings))
