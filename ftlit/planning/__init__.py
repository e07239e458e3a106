"""Estimates of a run from a rehearsal of a few batches."""
