"""Train on from a run with new data, compare the old and the new model, and show where a run comes from."""
