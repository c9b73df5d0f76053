"""From the videos table to content features: cached by content, resumable, on one machine or many.

What a video lacks is masked. What it has but cannot be used is listed in the quarantine; the
video keeps its place, with that modality absent.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.data import quarantine
from m3tr.errors import InputError
from m3tr.features import precomputed
from m3tr.features.cache import Cache
from m3tr.features.encoders import fingerprints
from m3tr.features.fill import MEDIA, TEXT_COLUMNS, Filler
from m3tr.features.parts import MODALITIES, ROWS, PartWriter
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features
from m3tr.progress import track


def extract(
    videos: pl.DataFrame,
    data_dir: Path | None,
    settings: FeatureSettings | None = None,
    *,
    cache_dir: Path | None = None,
) -> tuple[Features, pl.DataFrame, dict[str, Any]]:
    """Content features of every video, in memory (docs/features.md; `docs/model.md`, section 5).

    Parameters
    ----------
    videos : pl.DataFrame
        `video_id` and any of `title`, `description`, `media` (a path relative to `data_dir`),
        `emb_visual`, `emb_audio`, `emb_text` (precomputed; they win over the encoder).
    data_dir : Path or None
        The folder of the media paths; None where no video has media.
    settings : FeatureSettings, optional
        Encoders, sampling, limits, engine.
    cache_dir : Path, optional
        Where the tokens of single contents are kept, for a later call to go on from.

    Returns
    -------
    features : Features
        In the order of `videos`. A modality that no video has is left out.
    quarantine : pl.DataFrame
        `table, row, video_id, reason, remedy`; `row` counts from 0 in `videos`.
    report : dict
        Counts for the stage's report: `videos`, `present`, `shape`, `media_files`,
        `media_from_cache`, `media_decoded`, `texts_encoded`, `quarantined`, `encoders`
        (fingerprints), `engine`, `seconds`.

    Raises
    ------
    InputError
        A checkpoint that cannot be found; a video twice.
    """
    extraction = _Extraction(videos, data_dir, settings or FeatureSettings(), cache_dir)
    parts = list(extraction.parts())
    features = Features.concat(parts) if parts else Features.empty([], extraction.shapes())
    return features, extraction.quarantine(), extraction.report(features.present_counts())


def extract_to(
    folder: Path,
    videos: pl.DataFrame,
    data_dir: Path | None,
    settings: FeatureSettings | None = None,
    *,
    cache_dir: Path,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Content features of every video as part files in `folder`, in bounded memory.

    Parameters and results are those of `extract`; `Features.load(folder)` reads the features.

    Raises
    ------
    InputError
        As `extract`; a cache inside `folder`: what it holds depends on what ran before.
    """
    if Path(cache_dir).resolve().is_relative_to(Path(folder).resolve()):
        raise InputError(f"{cache_dir}: the cache may not lie in {folder}; move it out")
    extraction = _Extraction(videos, data_dir, settings or FeatureSettings(), cache_dir)
    present = dict.fromkeys(MODALITIES, 0)
    with PartWriter(folder, extraction.shapes(), extraction.encoders) as writer:
        for part in track(extraction.parts(), "writing features", -(-len(videos) // ROWS)):
            writer.write(part.ids, part.tokens, part.mask)
            for m, count in part.present_counts().items():
                present[m] += count
    return extraction.quarantine(), extraction.report(present)


class _Extraction:
    """One extraction: fills the cache, then gives the features part by part."""

    def __init__(
        self,
        videos: pl.DataFrame,
        data_dir: Path | None,
        settings: FeatureSettings,
        cache_dir: Path | None,
    ) -> None:
        self.start = time.monotonic()
        self.settings = settings
        self.ids = videos["video_id"].cast(pl.String).to_list()
        _refuse_doubles(self.ids)
        self.given = {m: precomputed.take(videos, m) for m in MODALITIES}
        absent = [m for m in MODALITIES if self.given[m] is None]
        self.fingerprints = fingerprints(settings, absent)
        self.cache = Cache(cache_dir, self.fingerprints)
        self.filler = Filler(videos, data_dir, settings, self.cache)
        try:
            self.keys = self.filler.media([m for m in MEDIA if m in absent])
            if "text" in absent:
                self.keys["text"] = self.filler.texts()
        finally:
            self.cache.close()

    def shapes(self) -> dict[str, tuple[int, int]]:
        """(T, D) of every modality that some video has; T does not depend on which videos."""
        least = {
            "visual": self.settings.visual.frames,
            "audio": self.settings.audio.segments,
            "text": len(TEXT_COLUMNS),
        }
        found: dict[str, tuple[int, int]] = {}
        for m in MODALITIES:
            given = self.given[m]
            if given is not None:
                if given.mask.any():
                    found[m] = given.tokens.shape[1], given.tokens.shape[2]
                continue
            keys = (key for row in self.keys.get(m, []) for key in row if key is not None)
            longest, dimension = self.cache.shelves[m].shape(keys)
            if longest:
                found[m] = max(least[m], longest), dimension
        return found

    def parts(self) -> Iterator[Features]:
        """The features of `ROWS` videos at a time."""
        shapes = self.shapes()
        for start in range(0, len(self.ids), ROWS):
            rows = range(start, min(start + ROWS, len(self.ids)))
            part = Features.empty([self.ids[row] for row in rows], shapes)
            for m in shapes:
                given = self.given[m]
                if given is not None:
                    part.tokens[m][:], part.mask[m][:] = (
                        given.tokens[rows.start : rows.stop],
                        given.mask[rows.start : rows.stop],
                    )
                else:
                    self._fill(part, m, rows)
            yield part

    def quarantine(self) -> pl.DataFrame:
        """What cannot be used, by row."""
        refused = set(self.filler.refused)
        for given in self.given.values():
            refused |= set(given.refused) if given is not None else set()
        rows = [
            ("videos", row, self.ids[row], reason, remedy)
            for row, reason, remedy in sorted(refused)
        ]
        return pl.DataFrame(rows, schema=quarantine.SCHEMA, orient="row")

    @property
    def encoders(self) -> dict[str, str]:
        """Fingerprint of what makes each modality."""
        return {m: self.fingerprints.get(m, "precomputed") for m in MODALITIES}

    def report(self, present: dict[str, int]) -> dict[str, Any]:
        """Counts for the stage's report."""
        return {
            "videos": len(self.ids),
            "present": present,
            "shape": {m: list(shape) for m, shape in self.shapes().items()},
            "media_files": self.filler.tally.files,
            "media_from_cache": self.filler.tally.cached,
            "media_decoded": self.filler.tally.decoded,
            "texts_encoded": self.filler.tally.texts,
            "quarantined": len(self.quarantine()),
            "encoders": self.encoders,
            "engine": self.settings.engine,
            "seconds": round(time.monotonic() - self.start, 3),
        }

    def _fill(self, part: Features, m: str, rows: range) -> None:
        keys = self.keys[m]
        needed = [key for row in rows for key in keys[row] if key is not None]
        try:
            entries = self.cache.shelves[m].take(needed)
        except KeyError:
            raise InputError(
                f"{self.cache.folder}: files vanished while they were used; run the stage again"
            ) from None
        for place, row in enumerate(rows):
            at = 0
            for key in keys[row]:
                # a text that is absent still takes its place
                length = 1 if key is None else len(entries[key].tokens)
                if key is not None and length:
                    part.tokens[m][place, at : at + length] = entries[key].tokens
                    part.mask[m][place, at : at + length] = True
                at += length


def _refuse_doubles(ids: list[str]) -> None:
    seen: dict[str, int] = {}
    for row, video in enumerate(ids):
        if video in seen:
            raise InputError(
                f"videos: '{video}' is in rows {seen[video]} and {row}; keep one of them"
            )
        seen[video] = row
