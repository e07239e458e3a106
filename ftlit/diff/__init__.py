"""What differs between two runs: their settings, data, code, machines, and metrics."""
