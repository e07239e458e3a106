"""Understand a run: explanations, errors, calibration and drift."""
