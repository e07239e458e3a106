"""What leaves a run: exported folders, adapters, predictions."""
