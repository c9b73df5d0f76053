"""Approximate indexes of large segments: which one, how it is built, what it finds."""
