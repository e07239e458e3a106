"""Helpers for every other package: files, settings, batch keys, lazy imports, private members of libraries."""
