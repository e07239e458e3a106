"""Rows before they are encoded: checks, subsets, label noise, augmentation."""
