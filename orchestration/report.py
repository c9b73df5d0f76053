"""A stage's report JSON as metadata of its asset.

A stage that DVC finds unchanged runs nothing, so whatever the page shows comes from this file.
"""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.graph import Stage

RESULTS = "reports/results.md"
PAGES = (
    "reports/report.html",
    "reports/data_docs/index.html",
    "reports/features_docs/index.html",
)


def read_report(folder: Path, name: str) -> dict[str, Any]:
    """Report of the stage `name` in the workspace `folder`; empty where there is none.

    NaN and Infinity, which a browser's JSON does not know, come as text.
    """
    path = folder / "reports" / f"{name}.json"
    return json.loads(path.read_text(), parse_constant=str) if path.is_file() else {}


def metadata(folder: Path, stage: Stage) -> dict[str, dg.MetadataValue]:
    """Rows, seconds and figures of a stage's report, its pages and the link to its MLflow run."""
    report = read_report(folder, stage.name)
    values = {name: typed(value) for name, value in (report.get("figures") or {}).items()}
    if report.get("rows") is not None:
        values["dagster/row_count"] = dg.MetadataValue.int(int(report["rows"]))
    if report.get("seconds") is not None:
        values["seconds"] = dg.MetadataValue.float(float(report["seconds"]))
    if link := run_link(report.get("mlflow_run_id")):
        values["mlflow_run"] = dg.MetadataValue.url(link)
    if _writes(stage, RESULTS) and (folder / RESULTS).is_file():
        values["results"] = dg.MetadataValue.md((folder / RESULTS).read_text())
    for page in PAGES:
        if _writes(stage, page) and (folder / page).is_file():
            values["page"] = dg.MetadataValue.path(str(folder / page))
    return values


def typed(value: Any) -> dg.MetadataValue:
    """A figure as the metadata type that fits it."""
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    if isinstance(value, (dict, list)):
        return dg.MetadataValue.json(value)
    return dg.MetadataValue.null() if value is None else dg.MetadataValue.text(str(value))


def run_link(run_id: str | None) -> str | None:
    """Page of an MLflow run; None where no MLflow page is known.

    The page's address is `M3TR_MLFLOW_UI`, else `MLFLOW_TRACKING_URI` where that is a server.
    """
    for name in ("M3TR_MLFLOW_UI", "MLFLOW_TRACKING_URI"):
        base = os.environ.get(name, "")
        if run_id and base.startswith(("http://", "https://")):
            return f"{base.rstrip('/')}/#/runs/{run_id}"
    return None


def _writes(stage: Stage, path: str) -> bool:
    return any(Path(path).is_relative_to(out) for out in stage.outs)
