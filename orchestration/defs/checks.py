"""Blocking checks: they read a stage's report and stop what lies downstream.

A figure that is missing fails its check: silence is no proof.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from orchestration.defs.resources import StageRunner
from orchestration.report import read_report, typed

RAW = ("raw_videos", "raw_columns", "raw_feedback")


class Rule(NamedTuple):
    """What one check demands: `holds` turns the report's `figure` into a verdict and its words.

    The check's metadata hold the figure and, where the report has them, those named by `evidence`.
    """

    stage: str
    name: str
    figure: str
    holds: Callable[[Any], tuple[bool, str]]
    evidence: tuple[str, ...] = ()


def quality(failed: int) -> tuple[bool, str]:
    """No critical rule of the suites is broken."""
    return failed == 0, f"{failed} critical rules broken"


def raw_tables(suites: dict[str, dict[str, Any]]) -> tuple[bool, str]:
    """No critical rule on the tables as they were read is broken."""
    absent = [name for name in RAW if name not in suites]
    if absent:
        return False, f"not judged: {', '.join(absent)}"
    failed = [text for name in RAW for text in suites[name]["failed"]]
    return not failed, "; ".join(failed) or f"{len(RAW)} suites hold"


def coverage(modalities: list[dict[str, Any]]) -> tuple[bool, str]:
    """As many videos as demanded have each modality."""
    short = [
        f"{m['modality']}: {m['value']:.1%} of the videos, at least {m['limit']:.1%} demanded"
        for m in modalities
        if not m["ok"]
    ]
    if not modalities:
        return False, "no modality was judged"
    return not short, ", ".join(short) or f"{len(modalities)} modalities suffice"


def information_contract(contract: dict[str, int]) -> tuple[bool, str]:
    """No clause of the information contract (docs/model.md, 2) is violated."""
    broken = [f"{clause}: {count} violations" for clause, count in contract.items() if count != 0]
    if not contract:
        return False, "no clause was tested"
    return not broken, ", ".join(broken) or f"{len(contract)} clauses hold"


def metric_bounds(bounds: list[dict[str, Any]]) -> tuple[bool, str]:
    """Every bounded metric lies within its limit."""
    outside = [f"{b['metric']} is {b['value']}, limit {b['limit']}" for b in bounds if not b["ok"]]
    return not outside, ", ".join(outside) or f"{len(bounds)} bounds hold"


RULES = (
    Rule("validate", "quality", "failed_critical", quality, ("failed", "warnings")),
    Rule("validate", "raw_tables", "suites", raw_tables),
    Rule("features", "quality", "failed_critical", quality, ("failed", "warnings")),
    Rule("features", "coverage", "coverage", coverage),
    Rule("bank", "information_contract", "contract", information_contract),
    Rule("train", "information_contract", "contract", information_contract),
    Rule("evaluate", "metric_bounds", "bounds", metric_bounds),
    Rule("evaluate", "information_contract", "contract", information_contract),
)


def judge(folder: Path, rule: Rule) -> dg.AssetCheckResult:
    """Result of `rule` on the report of its stage in the workspace `folder`."""
    figures = read_report(folder, rule.stage).get("figures") or {}
    if rule.figure not in figures:
        told = f"reports/{rule.stage}.json has no figure '{rule.figure}'; rerun the stage"
        return dg.AssetCheckResult(passed=False, description=told)
    passed, told = rule.holds(figures[rule.figure])
    named = (rule.figure, *(name for name in rule.evidence if name in figures))
    evidence = {name: typed(figures[name]) for name in named}
    return dg.AssetCheckResult(passed=passed, description=told, metadata=evidence)


def stage_check(rule: Rule) -> dg.AssetChecksDefinition:
    """The check of one rule, blocking."""

    @dg.asset_check(asset=rule.stage, name=rule.name, description=rule.holds.__doc__, blocking=True)
    def check(runner: StageRunner) -> dg.AssetCheckResult:
        return judge(Path(runner.workspace), rule)

    return check


def stage_checks(stages: Collection[str]) -> list[dg.AssetChecksDefinition]:
    """Checks of those `stages` that have a rule."""
    return [stage_check(rule) for rule in RULES if rule.stage in stages]
