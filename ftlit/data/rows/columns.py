"""Rows as columns, the form in which `datasets` returns several rows."""

from typing import Any


def as_rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The rows in a dictionary of columns."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
