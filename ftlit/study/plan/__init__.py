"""The study file and the cells that it describes."""
