"""What is computed once for the examples of a split, stored, and read again over epochs, runs and studies."""
