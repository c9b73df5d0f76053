"""One asset a stage: its name, description and dependencies are those of `dvc.yaml`."""

from collections.abc import Iterable

import dagster as dg

from orchestration.defs.resources import StageRunner
from orchestration.graph import Stage

GROUP = "popularity"


def stage_asset(stage: Stage) -> dg.AssetsDefinition:
    """Asset that brings one stage up to date."""

    @dg.asset(
        name=stage.name,
        deps=list(stage.upstream),
        description=stage.description or None,
        group_name=GROUP,
        kinds={"dvc"},
        metadata={"command": stage.command, "writes": dg.MetadataValue.json(list(stage.outs))},
    )
    def materialize(context: dg.AssetExecutionContext, runner: StageRunner) -> dg.MaterializeResult:
        return runner.materialize(stage, context.log.info)

    return materialize


def stage_assets(stages: Iterable[Stage]) -> list[dg.AssetsDefinition]:
    """Assets of all `stages`."""
    return [stage_asset(stage) for stage in stages]
