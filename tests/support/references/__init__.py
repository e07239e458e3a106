"""Metrics of this package next to references: other libraries, and published rules written down once more, naively."""

from tests.support.references.comparisons import COMPARISONS, Comparison, largest_difference

__all__ = ["COMPARISONS", "Comparison", "largest_difference"]
