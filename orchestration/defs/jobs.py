"""The job that brings every stage up to date."""

import dagster as dg

popularity_pipeline = dg.define_asset_job(
    "popularity_pipeline",
    selection=dg.AssetSelection.all(),
    description="Every stage in order; what DVC finds unchanged runs nothing.",
    # the work runs in DVC's processes: one more for each step would only import Dagster again
    executor_def=dg.in_process_executor,
)
