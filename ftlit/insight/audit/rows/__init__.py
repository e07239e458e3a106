"""Groups of rows: metrics by group, labels by group, and words that are tied to a label."""
