"""Rows as columns, which is how `datasets` gives many at once."""

from typing import Any


def as_rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The rows that columns hold."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
