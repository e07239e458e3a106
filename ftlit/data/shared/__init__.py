"""The base classes of data modules, and a summary of their data."""
