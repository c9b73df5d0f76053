"""Dagster over the stages of `dvc.yaml`: it shows, checks and schedules them (docs/dagster.md)."""
