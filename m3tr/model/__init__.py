"""The M3TR network and the forecaster built around it."""
