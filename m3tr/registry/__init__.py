"""MLflow: runs, promotion and the served model."""
