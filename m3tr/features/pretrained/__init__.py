"""Encoders from transformers checkpoints: a local folder or a hub id (docs/features.md)."""
