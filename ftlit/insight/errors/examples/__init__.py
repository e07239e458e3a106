"""What the predictions of a run say about single examples."""
