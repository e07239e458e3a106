"""The statistics of a study: intervals, comparisons, corrections."""
