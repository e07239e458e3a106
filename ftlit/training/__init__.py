"""The trainer and the callbacks of every run."""
