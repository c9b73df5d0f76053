"""Bounds that a forecaster must keep before it is promoted, and results as plain JSON."""

import math
from collections.abc import Mapping
from typing import Any

from m3tr.evaluation.settings import Bounds
from m3tr.evaluation.table import OURS, Results

HEADLINE = "increment"
_LISTS = {"all": "horizons", "class": "classes", "age": "ages", "decile": "deciles"}
_KEYS = ("row", "information", "label", "horizon", "horizon_days", "group", "level", "n")


def to_json(scores: Results) -> dict[str, dict[str, Any]]:
    """Results as JSON values: {row: {information, nmse, src, mae, ..., total, horizons, ...}}.

    The plain keys are the headline: the increment at the last horizon over all test videos.
    `increment` and `total` hold, each, a list of scores over all videos by horizon under
    `horizons`, and lists by trajectory class, by age and by decile of the row's forecasts under
    `classes`, `ages` and `deciles`. What is not defined is None.
    """
    out: dict[str, dict[str, Any]] = {}
    for line in scores.scores.iter_rows(named=True):
        row = out.setdefault(line["row"], {"information": line["information"]})
        own = {k: _plain(v) for k, v in line.items() if k not in _KEYS}
        label = row.setdefault(line["label"], {name: [] for name in _LISTS.values()})
        place = {k: line[k] for k in ("horizon", "horizon_days", "n")}
        if line["group"] == "all":
            label["horizons"].append(place | own)
            if line["label"] == HEADLINE and line["horizon"] == len(scores.horizon_days) - 1:
                row |= own
        else:
            label[_LISTS[line["group"]]].append({"level": line["level"]} | place | own)
    return out


def check(
    table: Mapping[str, Mapping[str, Any]], bounds: Bounds, row: str = OURS
) -> list[dict[str, Any]]:
    """Each bound that is set against a row of `to_json` at the headline.

    Returns
    -------
    list of dict
        `metric`, `value`, `limit`, `ok`; a score that is not defined breaks its bound.
    """
    checked = []
    for name, key, sign in (
        ("max_nmse", "nmse", 1),
        ("max_mae", "mae", 1),
        ("min_src", "src", -1),
        ("min_skill", "skill", -1),
        ("min_coverage", "coverage", -1),
    ):
        limit, value = getattr(bounds, name), table.get(row, {}).get(key)
        if limit is not None:
            ok = value is not None and sign * value <= sign * limit
            checked.append({"metric": key, "value": value, "limit": limit, "ok": ok})
    return checked


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
