"""Temporal-retrieval-enhanced multi-modal popularity prediction of micro-videos (M3TR)."""
