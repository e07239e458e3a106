"""Rows of an earlier run, and their mixture with new ones."""
