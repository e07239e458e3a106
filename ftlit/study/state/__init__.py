"""The study folder: what is done, what is pending, and what was chosen."""
