"""How far the features have moved since the version before, by dimension.

A small JSON beside the cache keeps the last two versions, so that the same features, judged again,
are held against the same predecessor. Only what the same encoder made is compared.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m3tr.features.statistics import ModalitySummary, Summary

FILE = "statistics.json"
FORMAT = 1
MOVED = 0.25  # standard deviations
# fewer videos move their means by chance alone: then a shift counts from so many standard errors on
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Drift:
    """One modality against the version before.

    Attributes
    ----------
    shift : ndarray (D,) float64
        Difference of the means in (pooled) standard deviations.
    limit : float
        The shift from which on a dimension has moved.
    coverage : float
        Change of the coverage, without its sign.
    coverage_noise : float
        The change that chance alone explains.
    """

    shift: np.ndarray
    limit: float
    coverage: float
    coverage_noise: float

    @property
    def moved(self) -> float:
        """Share of the dimensions that have moved."""
        return float((self.shift > self.limit).mean())


def compare(
    summary: Summary, encoders: Mapping[str, str] | None, before: Mapping[str, Any] | None
) -> dict[str, Drift]:
    """Drift of each modality that both versions have from the same encoder.

    Parameters
    ----------
    summary : Summary
    encoders : mapping, optional
        Fingerprint of each modality's encoder; one that is not known is not compared.
    before : mapping, optional
        A version, as `predecessor` gives it.
    """
    if not before or not encoders:
        return {}
    result = {}
    for m, now in summary.modalities.items():
        old = before["modalities"].get(m)
        same = encoders.get(m) is not None and before["encoders"].get(m) == encoders[m]
        if old is not None and same and len(old["mean"]) == len(now.mean):
            result[m] = _drift(now, summary.keys.rows, old, before["rows"])
    return result


def _drift(now: ModalitySummary, rows: int, old: Mapping[str, Any], old_rows: int) -> Drift:
    mean, deviation = np.array(old["mean"]), np.array(old["deviation"])
    pooled = np.sqrt((now.deviation**2 + deviation**2) / 2)
    # a constant that is the same but for rounding has not moved
    floor = 1e-6 * (np.abs(now.mean) + np.abs(mean)) + 1e-12
    share = (now.videos + old["videos"]) / (rows + old_rows)
    return Drift(
        shift=np.abs(now.mean - mean) / np.maximum(pooled, floor),
        limit=max(MOVED, STANDARD_ERRORS * (1 / now.videos + 1 / old["videos"]) ** 0.5),
        coverage=abs(now.coverage - old["videos"] / old_rows),
        coverage_noise=STANDARD_ERRORS * (share * (1 - share) * (1 / rows + 1 / old_rows)) ** 0.5,
    )


def predecessor(
    folder: Path, summary: Summary, encoders: Mapping[str, str] | None
) -> Mapping[str, Any] | None:
    """The version before, if `folder` keeps one; an unreadable file is told and ignored."""
    mine = _digest(_version(summary, encoders))
    return next((old for old in _read(folder / FILE) if _digest(old) != mine), None)


def remember(folder: Path, summary: Summary, encoders: Mapping[str, str] | None) -> bool:
    """Keep this version and the one before it, unless it is the newest already; whether it was new.

    Nothing is kept where the encoders are not known.
    """
    version, kept = _version(summary, encoders), _read(folder / FILE, quiet=True)
    if not encoders or (kept and _digest(kept[0]) == _digest(version)):
        return False
    content = {"format": FORMAT, "versions": [version, *kept[:1]]}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE}.{os.getpid()}"
    temporary.write_text(json.dumps(content) + "\n")
    os.replace(temporary, folder / FILE)
    return True


def _version(summary: Summary, encoders: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "encoders": dict(encoders or {}),
        "rows": summary.keys.rows,
        "modalities": {
            m: {
                "videos": found.videos,
                "mean": found.mean.tolist(),
                "deviation": found.deviation.tolist(),
                "digest": found.digest,
            }
            for m, found in summary.modalities.items()
        },
    }


def _digest(version: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two versions of the same contents share."""
    vectors = sorted((m, found["digest"]) for m, found in version["modalities"].items())
    return version["rows"], vectors, sorted(version["encoders"].items())


def _read(path: Path, *, quiet: bool = False) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        for version in content["versions"]:
            _check(version)
        return list(content["versions"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        if not quiet:
            print(f"warning: {path} is unreadable: no drift is told this time, and it is replaced")
        return []


def _check(version: Mapping[str, Any]) -> None:
    """Raise where a version is not what `_version` makes."""
    if int(version["rows"]) < 1:
        raise ValueError("no rows")
    dict(version["encoders"]).items()
    for found in version["modalities"].values():
        shapes = {np.array(found[name], np.float64).shape for name in ("mean", "deviation")}
        finite = np.isfinite([*found["mean"], *found["deviation"]]).all()
        if len(shapes) != 1 or not finite or int(found["videos"]) < 1:
            raise ValueError("no statistics")
        str(found["digest"])
