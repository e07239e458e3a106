"""What a model that writes texts repeats of its training data: passages, and personal data."""
