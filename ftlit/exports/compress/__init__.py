"""Smaller and faster forms of a finished run: make them, measure them beside the run, and keep those that are good enough."""
