"""The daily schedule; off until someone turns it on."""

import dagster as dg

from orchestration.defs.jobs import popularity_pipeline

popularity_daily = dg.ScheduleDefinition(
    name="popularity_daily",
    job=popularity_pipeline,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    description="Every night at 03:00 UTC; costs nothing where the data did not change.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
