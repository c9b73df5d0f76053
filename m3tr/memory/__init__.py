"""The memory bank of past videos and temporal-aware retrieval from it."""
