"""The trainer of every run, and its callbacks."""
