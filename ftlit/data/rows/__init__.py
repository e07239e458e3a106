"""Rows before they are encoded: checks, splits, subsets, duplicates, label noise and augmentation."""
