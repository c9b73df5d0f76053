"""The rows M3TR is compared with: one module a baseline, one interface."""
