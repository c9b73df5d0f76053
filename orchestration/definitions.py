"""What `dg` and the Dagster page load."""

from pathlib import Path

import dagster as dg

from orchestration.defs.assets import stage_assets
from orchestration.defs.checks import stage_checks
from orchestration.defs.jobs import popularity_pipeline
from orchestration.defs.resources import StageRunner
from orchestration.defs.schedules import popularity_daily
from orchestration.graph import read_stages, workspace


def build_definitions(folder: Path) -> dg.Definitions:
    """Definitions of the workspace `folder`.

    Raises
    ------
    InputError
        If the folder has no readable `dvc.yaml`.
    """
    stages = read_stages(folder)
    return dg.Definitions(
        assets=stage_assets(stages.values()),
        asset_checks=stage_checks(stages),
        jobs=[popularity_pipeline],
        schedules=[popularity_daily],
        resources={"runner": StageRunner(workspace=str(folder))},
        # also for assets launched outside the job
        executor=dg.in_process_executor,
    )


defs = build_definitions(workspace())
