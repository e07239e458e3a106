"""Metrics that torchmetrics does not provide, most of them over whole lists of predictions and references."""
