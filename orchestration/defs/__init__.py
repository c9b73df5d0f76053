"""What Dagster shows: assets, checks, the job, the schedule and the resource behind them."""
