"""Worlds with a known truth: media files, texts, creators and feedback."""
