"""Estimate the time, memory and disk space of a run from a rehearsal of a few batches."""
