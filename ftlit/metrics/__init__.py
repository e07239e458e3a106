"""Metrics over whole lists of predictions and references, where torchmetrics has none."""
