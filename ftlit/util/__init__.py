"""Helpers for all other packages: files, settings, batch keys, lazy imports, and private members of libraries."""
