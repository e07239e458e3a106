"""Rows of a split: checked one by one, named by an id, and fingerprinted."""

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError, near

if TYPE_CHECKING:
    from datasets import Dataset


def checked(
    rows: "Dataset", place: str, columns: dict[str, str], problem: Callable[[dict[str, Any]], str | None]
) -> tuple["Dataset", list[str]]:
    """The good rows of a split with the columns in use and a column ``row_id``, and what is wrong with the others.

    Args:
        rows: The split as it comes.
        place: Data set and split, for messages.
        columns: The column that each key of the config selects.
        problem: Says what is wrong with a row, or None.

    Raises:
        UserError: A column does not exist.
    """
    split = place.rsplit(": ", 1)[-1]
    for key, column in columns.items():
        if column not in rows.column_names:
            raise UserError(f"data.{key}: {place} has no column {column!r}. {near(column, rows.column_names)}")
    ids = rows["id"] if "id" in rows.column_names else range(len(rows))
    rows = rows.select_columns(list(dict.fromkeys(columns.values())))
    bad = {number: found for number, row in enumerate(rows) if (found := problem(row))}
    rows = rows.add_column("row_id", [f"{split}:{i}" for i in ids])
    kept = rows.select([i for i in range(len(rows)) if i not in bad]) if bad else rows
    return kept, [f"{place} row {number + 1}: {found}" for number, found in bad.items()]


def fingerprint(rows: "Dataset") -> str:
    """A hash of the rows' content."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def row_place(row_id: str, own: bool) -> str:
    """Where a row stands in its source: ``train row 7``, counted from 1 as in error messages, or ``train row with id 'q7'``.

    Args:
        row_id: As `checked` made it.
        own: Whether it holds the row's own id, not its position: an own id may be a number too.
    """
    split, _, name = row_id.partition(":")
    return f"{split} row with id {name!r}" if own else f"{split} row {int(name) + 1}"


def text_problem(row: dict[str, Any], column: str) -> str | None:
    """What is wrong with the text in a column of a row, or None."""
    value = row.get(column)
    if value is None:
        return f"the text in column {column!r} is null" if column in row else f"there is no column {column!r}"
    if not isinstance(value, str):
        return f"column {column!r} holds {value!r}, not a text"
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON may write half a surrogate pair, UTF-8 cannot
        return f"the text in column {column!r} holds half a character"
    return None if value.strip() else f"the text in column {column!r} is empty"
