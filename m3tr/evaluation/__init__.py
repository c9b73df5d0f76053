"""Metrics, protocol, results table and report pages."""
