"""Slices of examples: their properties, how each differs from the rest, and the search for the worst ones."""
