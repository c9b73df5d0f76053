"""From the videos table to content features: resumable, in any number of processes.

What a video lacks is masked. What it has but cannot be used is listed in the quarantine; the
video keeps its place, with that modality absent.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError
from m3tr.features import precomputed
from m3tr.features.cache import ShardCache
from m3tr.features.encoders import Encoders, MediaEncoder, build, fingerprints
from m3tr.features.media import REPLACE, MediaError, locate
from m3tr.features.pool import Failure, run
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import MODALITIES, Features
from m3tr.features.worker import MediaResult, MediaTask, handle
from m3tr.progress import track

QUARANTINE_SCHEMA = {
    "table": pl.String,
    "row": pl.Int64,
    "video_id": pl.String,
    "reason": pl.String,
    "remedy": pl.String,
}
QUARANTINE = "quarantine.parquet"
HUNG_FACTOR, HUNG_SECONDS = 3.0, 20.0  # wall time allowed: 3 x the processor time + 20 s

Tokens = dict[str, np.ndarray]  # modality -> (T, D) of one video
Refusal = tuple[int, str, str]  # row of the videos table, reason, remedy


@dataclass
class _MediaTally:
    files: int = 0
    cached: int = 0
    decoded: int = 0


def extract(
    videos: pl.DataFrame,
    data_dir: Path | None,
    out_dir: Path | None,
    settings: FeatureSettings | None = None,
    *,
    cache_dir: Path | None = None,
) -> tuple[Features, pl.DataFrame, dict[str, Any]]:
    """Content features of every video (docs/features.md; `docs/model.md`, section 5).

    Parameters
    ----------
    videos : pl.DataFrame
        `video_id` and any of `title`, `description`, `media` (a path relative to `data_dir`),
        `emb_visual`, `emb_audio`, `emb_text` (precomputed; they win over the encoder).
    data_dir : Path or None
        The folder of the media paths; None where no video has media.
    out_dir : Path or None
        Where features and `quarantine.parquet` are written; None writes nothing.
    settings : FeatureSettings, optional
        Encoders, sampling, limits.
    cache_dir : Path, optional
        Where the results of single files are kept, for a later call to go on from. Outside
        `out_dir`: what a cache holds depends on what ran before.

    Returns
    -------
    features : Features
        In the order of `videos`. A modality that no video has is left out.
    quarantine : pl.DataFrame
        `table, row, video_id, reason, remedy`; `row` counts from 0 in `videos`.
    report : dict
        Counts for the stage's report: `videos`, `present`, `shape`, `media_files`,
        `media_from_cache`, `media_decoded`, `quarantined`, `seconds`.

    Raises
    ------
    InputError
        A checkpoint that cannot be found; a video twice; a cache inside `out_dir`.
    """
    start = time.monotonic()
    settings = settings or FeatureSettings()
    ids = videos["video_id"].cast(pl.String).to_list()
    _check(videos, ids, out_dir, cache_dir)
    given = {m: precomputed.take(videos, m) for m in MODALITIES}
    refused: list[Refusal] = [
        refusal for part in given.values() if part is not None for refusal in part.refused
    ]
    texts = _texts(videos, settings) if given["text"] is None else []
    wants_media = (given["visual"] is None or given["audio"] is None) and _has_media(videos)
    encoders = build(
        settings,
        visual=wants_media and given["visual"] is None,
        audio=wants_media and given["audio"] is None,
        text=bool(texts),
    )
    tally = _MediaTally()
    found: dict[int, Tokens] = {}
    if wants_media:
        cache = ShardCache(cache_dir, _stamp(settings)) if cache_dir is not None else None
        found, broken = _media(videos, data_dir, settings, encoders, cache, tally)
        refused += broken
    tokens: dict[str, np.ndarray] = {}
    mask: dict[str, np.ndarray] = {}
    for m in ("visual", "audio"):
        rows = {i: item[m] for i, item in found.items() if m in item}
        if given[m] is None and rows:
            asked = settings.visual.frames if m == "visual" else settings.audio.segments
            tokens[m], mask[m] = _stack(rows, len(ids), asked)
    if texts:
        tokens["text"], mask["text"] = _encode_texts(texts, len(ids), encoders)
    for m, part in given.items():
        if part is not None and part.mask.any():
            tokens[m], mask[m] = part.tokens, part.mask
    features = Features(
        ids, {m: tokens[m] for m in MODALITIES if m in tokens}, {m: mask[m] for m in mask}
    )
    quarantine = pl.DataFrame(
        [("videos", row, ids[row], reason, remedy) for row, reason, remedy in sorted(refused)],
        schema=QUARANTINE_SCHEMA,
        orient="row",
    )
    report = {
        "videos": len(ids),
        "present": {m: int(features.present(m).sum()) for m in MODALITIES},
        "shape": {m: list(shape) for m, shape in features.shapes.items()},
        "media_files": tally.files,
        "media_from_cache": tally.cached,
        "media_decoded": tally.decoded,
        "quarantined": len(quarantine),
        "seconds": round(time.monotonic() - start, 3),
    }
    if out_dir is not None:
        features.save(out_dir)
        temporary = Path(out_dir) / f".{QUARANTINE}.{os.getpid()}"
        quarantine.write_parquet(temporary)
        os.replace(temporary, Path(out_dir) / QUARANTINE)
    return features, quarantine, report


def _check(
    videos: pl.DataFrame, ids: list[str], out_dir: Path | None, cache_dir: Path | None
) -> None:
    seen: dict[str, int] = {}
    for row, video in enumerate(ids):
        if video in seen:
            raise InputError(
                f"videos: '{video}' is in rows {seen[video]} and {row}; keep one of them"
            )
        seen[video] = row
    if out_dir is not None and cache_dir is not None:
        inside = Path(cache_dir).resolve().is_relative_to(Path(out_dir).resolve())
        if inside:
            raise InputError(f"{cache_dir}: the cache may not lie in {out_dir}; move it out")


def _has_media(videos: pl.DataFrame) -> bool:
    return "media" in videos.columns and any(cell for cell in videos["media"].to_list())


def _texts(videos: pl.DataFrame, settings: FeatureSettings) -> list[tuple[int, int, str]]:
    """(row, token, text) of every title (token 0) and description (token 1) that is not blank."""
    result = []
    for token, column in enumerate(("title", "description")):
        if column in videos.columns:
            for row, text in enumerate(videos[column].cast(pl.String).to_list()):
                if text and text.strip():
                    result.append((row, token, text[: settings.text.max_characters]))
    return result


def _encode_texts(
    texts: list[tuple[int, int, str]], n: int, encoders: Encoders
) -> tuple[np.ndarray, np.ndarray]:
    distinct = sorted({text for _, _, text in texts})
    place = {text: i for i, text in enumerate(distinct)}
    assert encoders.text is not None
    vectors = encoders.text.encode_texts(distinct)
    tokens = np.zeros((n, 2, vectors.shape[1]), np.float32)
    mask = np.zeros((n, 2), bool)
    for row, token, text in texts:
        tokens[row, token], mask[row, token] = vectors[place[text]], True
    return tokens, mask


def _stack(rows: Tokens | dict[int, np.ndarray], n: int, at_least: int) -> tuple[Any, Any]:
    """Tokens (T_i, D) by row -> (n, T, D) and mask; T does not depend on which videos are here."""
    first = next(iter(rows.values()))
    T = max(at_least, max(len(item) for item in rows.values()))
    tokens, mask = np.zeros((n, T, first.shape[1]), np.float32), np.zeros((n, T), bool)
    for i, item in rows.items():
        tokens[i, : len(item)], mask[i, : len(item)] = item, True  # type: ignore[index]
    return tokens, mask


def _media(
    videos: pl.DataFrame,
    data_dir: Path | None,
    settings: FeatureSettings,
    encoders: Encoders,
    cache: ShardCache | None,
    tally: _MediaTally,
) -> tuple[dict[int, Tokens], list[Refusal]]:
    """Tokens of every usable media file by row, and the refused rows."""
    refused: list[Refusal] = []
    rows_of: dict[Path, list[int]] = {}
    for row, cell in enumerate(videos["media"].cast(pl.String).to_list()):
        if not cell:
            continue
        try:
            if data_dir is None:
                raise MediaError("no data folder was given", "give the folder of the media files")
            rows_of.setdefault(locate(Path(data_dir), cell, settings.limits), []).append(row)
        except MediaError as error:
            refused.append((row, f"{cell}: {error.reason}", error.remedy))
    tally.files = len(rows_of)
    done: dict[Path, Tokens] = {}
    keys: dict[Path, str] = {}
    if cache is not None:
        with ThreadPoolExecutor(settings.workers or os.cpu_count() or 1) as threads:
            keys = dict(zip(rows_of, threads.map(cache.key, rows_of), strict=True))
        for path, key in keys.items():
            kept = cache.get(key)
            if kept is not None:
                done[path] = kept
    tally.cached = len(done)
    todo = [path for path in rows_of if path not in done]
    for path, result in _decode(todo, settings, encoders):
        if isinstance(result, MediaError):
            name = path.relative_to(Path(data_dir).resolve()) if data_dir else path
            refused += [(row, f"{name}: {result.reason}", result.remedy) for row in rows_of[path]]
            continue
        tally.decoded += 1
        done[path] = result
        if cache is not None:
            cache.put(keys[path], result)
    return {
        row: done[path] for path, rows in rows_of.items() if path in done for row in rows
    }, refused


def _decode(
    paths: list[Path], settings: FeatureSettings, encoders: Encoders
) -> Iterator[tuple[Path, Tokens | MediaError]]:
    """Decode in worker processes; pretrained encoders then run here, one video at a time."""
    tasks = [
        MediaTask(
            path,
            encoders.wanted,
            settings.limits,
            encoders.visual.prepare if encoders.visual else None,
            encoders.audio.prepare if encoders.audio else None,
        )
        for path in paths
    ]
    results = run(
        handle,
        tasks,
        workers=settings.workers or os.cpu_count() or 1,
        seconds=HUNG_FACTOR * settings.limits.max_seconds_decoding + HUNG_SECONDS,
    )
    for index, result in track(results, "media", total=len(tasks)):
        yield paths[index], _tokens(result, encoders)


def _tokens(result: MediaResult | Failure, encoders: Encoders) -> Tokens | MediaError:
    if isinstance(result, Failure):
        told = {"crashed": "the decoder crashed", "hung": "the decoder hung", "raised": "damaged"}
        return MediaError(f"{told[result.kind]} ({result.message})", REPLACE)
    if result.reason is not None:
        return MediaError(result.reason, result.remedy or REPLACE)
    tokens: Tokens = {}
    for m, prepared in (("visual", result.visual), ("audio", result.audio)):
        encoder: MediaEncoder | None = getattr(encoders, m)
        if prepared is not None and encoder is not None:
            tokens[m] = encoder.network([prepared])[0] if encoder.network else prepared
    return tokens


def _stamp(settings: FeatureSettings) -> str:
    told = fingerprints(settings)
    return "-".join([told["visual"], told["audio"], settings.limits.model_dump_json()])
