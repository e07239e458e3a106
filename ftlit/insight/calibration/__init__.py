"""Fit on validation what makes the scores of a run probabilities, and report what it does on test."""
