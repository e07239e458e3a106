"""Pairs of texts that differ in a few words: how they are made, and what the model makes of the difference."""
