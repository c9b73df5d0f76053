"""Great Expectations as a stage uses it: suites over small frames, their pages, what fails.

The library knows no polars, so each suite sees a small pandas frame made from an aggregate. Its
import takes seconds and happens inside `run`.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

WARNING: dict[str, Any] = {"severity": "warning"}
CRITICAL: dict[str, Any] = {"severity": "critical"}
# 1 - 0.18 is a little more than 82 / 100
ROUNDING = 1e-9


@dataclass(frozen=True)
class Suite:
    """A frame and what is expected of it.

    Attributes
    ----------
    frame : DataFrame
        Small: at most one row a video.
    expectations : list of Expectation
    key : str, optional
        Column that names the first row that fails.
    """

    frame: pl.DataFrame
    expectations: "list[Expectation]"
    key: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How many expectations were judged, and a sentence for each that does not hold."""

    expectations: int
    failed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        return {
            "expectations": self.expectations,
            "failed": self.failed,
            "warnings": self.warnings,
        }


def critical(remedy: str) -> dict[str, Any]:
    """Arguments of an expectation that stops the pipeline, with the remedy that is told."""
    return {"severity": "critical", "meta": {"remedy": remedy}}


def warning(remedy: str) -> dict[str, Any]:
    """Arguments of an expectation that is only told, with the remedy."""
    return {"severity": "warning", "meta": {"remedy": remedy}}


def all_but(share: float) -> float:
    """The `mostly` that tolerates `share` of the rows, that share included."""
    return max(0.0, 1 - share - ROUNDING)


def run(suites: Mapping[str, Suite], docs_dir: Path) -> dict[str, Outcome]:
    """Judge every suite and write the static pages (Data Docs) of all under `docs_dir`.

    Parameters
    ----------
    suites : mapping
        By name; the name is the title of its page.
    docs_dir : Path
        An earlier run's pages are replaced; ``index.html`` is the entry.

    Returns
    -------
    dict
        The outcome of each suite, by name.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    for site in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(site)
    # an earlier run's pages would stay beside the new ones
    for part in ("expectations", "validations"):
        shutil.rmtree(docs_dir / part, ignore_errors=True)
    context.add_data_docs_site(
        "m3tr",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,  # type: ignore[typeddict-unknown-key]
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(docs_dir.resolve()),
            },
        },
    )
    source = context.data_sources.add_pandas("m3tr")
    outcomes: dict[str, Outcome] = {}
    for name, suite in suites.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        added = context.suites.add(gx.ExpectationSuite(name=name, expectations=suite.expectations))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=added)
        )
        form: dict[str, Any] = {"result_format": "SUMMARY"}
        if suite.key is not None:
            form["unexpected_index_column_names"] = [suite.key]
        judged = definition.run(
            batch_parameters={"dataframe": suite.frame.to_pandas()},
            result_format=form,
        )
        outcome = Outcome(len(judged.results))
        for result in judged.results:
            if not result.success:
                told, stops = _tell(result, suite.key)
                (outcome.failed if stops else outcome.warnings).append(f"{name}: {told}")
        outcomes[name] = outcome
    context.build_data_docs()
    return outcomes


def together(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Figures of a report: `expectations`, `failed`, `warnings`, `failed_critical`, `suites`."""
    failed = [text for outcome in outcomes.values() for text in outcome.failed]
    return {
        "expectations": sum(outcome.expectations for outcome in outcomes.values()),
        "failed": failed,
        "warnings": [text for outcome in outcomes.values() for text in outcome.warnings],
        "failed_critical": len(failed),
        "suites": {name: outcome.figures() for name, outcome in outcomes.items()},
    }


def _tell(result: Any, key: str | None) -> tuple[str, bool]:
    """Sentence of an expectation that does not hold, and whether it is critical."""
    config = result.expectation_config
    text = f"{_rule(result)}; found: {_found(result, key)}"
    remedy = (config.meta or {}).get("remedy")
    if remedy:
        text += f"; remedy: {remedy}"
    severity = getattr(config.severity, "value", config.severity)
    return text, severity == "critical"


def _rule(result: Any) -> str:
    """What was expected, in the words of the library's pages."""
    config = result.expectation_config
    expectation = config.to_domain_obj()
    expectation.render()
    if len(expectation.rendered_content or ()) != 1:
        return str(config.type)
    told = expectation.rendered_content[0].value
    values = {name: _short(each["value"]) for name, each in (told.params or {}).items()}
    if "mostly" in config.kwargs:  # theirs shows the rounding of `all_but`
        values["mostly_pct"] = _short(100 * config.kwargs["mostly"])
    rule = Template(told.template).safe_substitute(values).rstrip(".")
    rule = rule.removesuffix(", at least 100 % of the time")
    return rule[0].lower() + rule[1:] if rule.startswith(("Must", "Values")) else rule


def _found(result: Any, key: str | None) -> str:
    """What there was in its place."""
    found, kwargs = result.result or {}, result.expectation_config.kwargs
    if (seen := found.get("observed_value")) is not None:
        return _short(seen)
    if found.get("unexpected_percent") is not None:
        told = f"{found['unexpected_percent']:.2f} % break it"
        first = next(iter(found.get("partial_unexpected_index_list") or []), None)
        if first is not None and key in first:
            told += f", the first at {key} {first[key]}"
            told += f" ({first[kwargs['column']]})" if kwargs.get("column") in first else ""
        return told
    lists = {"no": "partial_missing_list", "also": "partial_unexpected_list"}
    other = [f"{word} {', '.join(map(str, found[n]))}" for word, n in lists.items() if found.get(n)]
    errors = [_message(result.exception_info or {})]
    errors += [_message(each) for each in (result.exception_info or {}).values()]
    return "; ".join(other + [e for e in errors if e]) or "nothing"


def _message(info: Any) -> str:
    return str(info.get("exception_message") or "") if isinstance(info, Mapping) else ""


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
