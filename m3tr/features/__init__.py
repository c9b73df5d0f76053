"""Content features: media decoding, encoders, resumable extraction."""
