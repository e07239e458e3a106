"""The statistics of a study: intervals, comparisons and corrections."""
