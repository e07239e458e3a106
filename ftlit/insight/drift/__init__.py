"""Compare new rows with those of a run: what changed, and what accuracy to expect without labels."""
