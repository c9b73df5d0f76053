"""What is expected of the features (Great Expectations), before anything is trained on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.data.settings import QualitySettings
from m3tr.data.suites import Suite, all_but, critical, run, together, warning
from m3tr.features.drift import Drift, compare, predecessor
from m3tr.features.statistics import ModalitySummary, Summary, summarize
from m3tr.features.store import MODALITIES

# a dimension of fewer videos is constant by chance
ENOUGH_VIDEOS = 10
AGAIN = "run the features stage again"


def judge(
    parts: Sequence[Path],
    videos: Sequence[str],
    settings: QualitySettings,
    docs_dir: Path,
    *,
    encoders: Mapping[str, str] | None = None,
    kept_in: Path | None = None,
) -> tuple[dict[str, Any], Summary]:
    """Sum the features up, judge the summary and write its pages (Data Docs) under `docs_dir`.

    Parameters
    ----------
    parts : sequence of Path
        The part files of the features, in order.
    videos : sequence of str
        Ids of the videos table, in order.
    settings : QualitySettings
    docs_dir : Path
        An earlier run's pages are replaced; ``index.html`` is the entry.
    encoders : mapping, optional
        Fingerprint of each modality's encoder.
    kept_in : Path, optional
        Folder that keeps the version before (`m3tr.features.drift`).

    Returns
    -------
    figures : dict
        `failed`, `warnings`, `failed_critical`, `expectations`, `suites`
        (`m3tr.data.suites.together`), `coverage` (by modality: value, limit, ok), `statistics` and
        `drift` by modality.
    summary : Summary
        For `m3tr.features.drift.remember`, once the stage has succeeded.

    Raises
    ------
    InputError
        A part that is none.
    """
    summary = summarize(parts, videos)
    before = predecessor(kept_in, summary, encoders) if kept_in is not None else None
    drift = compare(summary, encoders, before)
    outcomes = run(suites(summary, drift, settings), docs_dir)
    figures = together(outcomes) | {
        "coverage": coverage(summary, settings),
        "statistics": {m: _figures(found) for m, found in summary.modalities.items()},
        "drift": {
            m: {"moved": d.moved, "largest": float(d.shift.max()), "coverage": d.coverage}
            for m, d in drift.items()
        },
    }
    return figures, summary


def coverage(summary: Summary, settings: QualitySettings) -> list[dict[str, Any]]:
    """Of each modality, the share of the videos that have it, beside its limit."""
    result = []
    for m in MODALITIES:
        value, limit = _coverage(summary, m), getattr(settings.min_coverage, m)
        result.append({"modality": m, "value": value, "limit": limit, "ok": value >= limit})
    return result


def suites(
    summary: Summary, drift: Mapping[str, Drift], settings: QualitySettings
) -> dict[str, Suite]:
    """`features`, over one row of totals, and `features_<modality>`, over a row a dimension."""
    result = {"features": Suite(_totals(summary, drift), _of_all(summary, drift, settings))}
    for m, found in summary.modalities.items():
        frame = pl.DataFrame(
            {
                "dimension": list(range(len(found.mean))),
                "mean": found.mean,
                "deviation": found.deviation,
                "constant": found.constant,
                "shift": drift[m].shift if m in drift else [None] * len(found.mean),
            },
            schema_overrides={"shift": pl.Float64},
        )
        expected = _of_dimensions(m, found, drift.get(m), settings)
        result[f"features_{m}"] = Suite(frame, expected, "dimension")
    return result


def _coverage(summary: Summary, modality: str) -> float:
    found = summary.modalities.get(modality)
    return found.coverage if found is not None else 0.0


def _enough(summary: Summary) -> list[ModalitySummary]:
    """The modalities whose constants are not due to chance."""
    return [found for found in summary.modalities.values() if found.videos >= ENOUGH_VIDEOS]


def _totals(summary: Summary, drift: Mapping[str, Drift]) -> pl.DataFrame:
    keys = summary.keys
    row: dict[str, Any] = {
        "rows": keys.rows,
        "repeated": keys.repeated,
        "missing": keys.missing,
        "unknown": keys.unknown,
        "in_order": int(keys.in_order),
    }
    if enough := _enough(summary):
        row["constant"] = float(np.concatenate([found.constant for found in enough]).mean())
    for m in MODALITIES:
        row[f"{m}_coverage"] = _coverage(summary, m)
    for m, found in summary.modalities.items():
        row[f"{m}_non_finite"] = found.non_finite
        row[f"{m}_norm_mean"], row[f"{m}_norm_max"] = found.norms[1:]
        row[f"{m}_duplicates"] = found.duplicates
        if m in drift:
            row[f"{m}_coverage_change"] = drift[m].coverage
    return pl.DataFrame([row])


def _of_all(summary: Summary, drift: Mapping[str, Drift], settings: QualitySettings) -> list[Any]:
    import great_expectations.expectations as gxe

    def most(column: str, value: float, words: dict[str, Any]) -> Any:
        return gxe.ExpectColumnMaxToBeBetween(column=column, min_value=0, max_value=value, **words)

    def least(column: str, value: float, words: dict[str, Any], *, strict: bool = False) -> Any:
        return gxe.ExpectColumnMinToBeBetween(
            column=column, min_value=value, strict_min=strict, **words
        )

    expected = [
        most("repeated", 0, critical(AGAIN)),
        most("missing", 0, critical(AGAIN)),
        most("unknown", 0, critical(AGAIN)),
        least("in_order", 1, critical(AGAIN)),
    ]
    for m in MODALITIES:
        words = critical(
            f"add what the {m} features are made from, or lower quality.min_coverage.{m} in "
            "params.yaml"
        )
        expected.append(least(f"{m}_coverage", getattr(settings.min_coverage, m), words))
    for m, found in summary.modalities.items():
        broken = critical(f"look for a broken {m} encoder, or a broken precomputed column")
        expected.append(most(f"{m}_non_finite", 0, broken))
        expected.append(most(f"{m}_norm_max", settings.max_norm, broken))
        if found.videos >= ENOUGH_VIDEOS:
            expected.append(least(f"{m}_norm_mean", 0, broken, strict=True))
        twins = warning("look for one file under many names, or raise quality.max_duplicates")
        expected.append(most(f"{m}_duplicates", settings.max_duplicates, twins))
        if m in drift:
            limit = max(settings.max_drift, drift[m].coverage_noise)
            moved = warning(f"the share of videos with {m} features has changed: look for why")
            expected.append(most(f"{m}_coverage_change", limit, moved))
    # a modality may have nothing to tell, as where all videos are silent; all of them may not
    if settings.max_constant < 1 and _enough(summary):
        words = critical(
            "all videos have the same features: look for a broken encoder, or set "
            "quality.max_constant to 1 in params.yaml"
        )
        expected.append(
            gxe.ExpectColumnMaxToBeBetween(
                column="constant", min_value=0, max_value=1, strict_max=True, **words
            )
        )
    return expected


def _of_dimensions(
    modality: str, found: ModalitySummary, drift: Drift | None, settings: QualitySettings
) -> list[Any]:
    import great_expectations.expectations as gxe

    expected: list[Any] = []
    if found.videos >= ENOUGH_VIDEOS:
        expected.append(
            gxe.ExpectColumnValuesToBeInSet(
                column="constant",
                value_set=[False],
                mostly=all_but(settings.max_constant),
                **warning(
                    f"these dimensions are the same in all videos: look at the {modality} encoder "
                    "and what it reads, or raise quality.max_constant"
                ),
            )
        )
    if drift is not None:
        expected.append(
            gxe.ExpectColumnValuesToBeBetween(
                column="shift",
                max_value=drift.limit,
                mostly=all_but(settings.max_drift),
                **warning(
                    "the features have moved since the version before: look for what has changed "
                    "in the data"
                ),
            )
        )
    return expected


def _figures(found: ModalitySummary) -> dict[str, Any]:
    spread = ("min", "mean", "max")
    return {
        "coverage": found.coverage,
        "tokens": dict(zip(spread, found.tokens, strict=True)),
        "norms": dict(zip(spread, found.norms, strict=True)),
        "non_finite": found.non_finite,
        "dimensions": len(found.mean),
        "constant": found.constant_share,
        "duplicates": found.duplicates,
    }
