"""The run folder: reading and writing its files, and protecting an earlier run."""
