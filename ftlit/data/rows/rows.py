"""The rows of a split: checks, ids and fingerprints."""

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftlit.data.rows.columns import every_row
from ftlit.errors import UserError, near
from ftlit.util.cache import remembered
from ftlit.util.private import rows_hash

if TYPE_CHECKING:
    from datasets import Dataset


def checked(
    rows: "Dataset",
    place: str,
    columns: dict[str, str],
    validate: Callable[[dict[str, Any]], str | None],
    hints: dict[str, str],
) -> tuple["Dataset", list[str]]:
    """The valid rows of a split with the columns in use and ``row_id``, and what is wrong with the other rows.

    Args:
        rows: The split of the source.
        place: Data set and split, for messages.
        columns: The column that each config key selects.
        validate: Returns what is wrong with a row, or None.
        hints: More advice for columns that do not exist, by their keys.

    Raises:
        UserError: If a column does not exist.
    """
    from datasets.fingerprint import Hasher

    split = place.rsplit(": ", 1)[-1]
    for key, column in columns.items():
        if column not in rows.column_names:
            known = f"{near(column, rows.column_names)} {hints.get(key, '')}".strip()
            raise UserError(f"data.{key}: {place} has no column {column!r}. {known}")
    ids = rows["id"][:] if has_own_ids(rows) else range(len(rows))
    with_ids = Hasher.hash(["row_id", rows_hash(rows), split, list(columns.values())])  # not of all ids, which takes long
    rows = rows.select_columns(list(dict.fromkeys(columns.values())))
    bad = {number: found for number, row in enumerate(every_row(rows)) if (found := validate(row))}
    rows = rows.add_column("row_id", [f"{split}:{i}" for i in ids], new_fingerprint=with_ids)
    kept = rows.select([i for i in range(len(rows)) if i not in bad]) if bad else rows
    return kept, [f"{place} row {number + 1}: {found}" for number, found in bad.items()]


def has_own_ids(rows: "Dataset") -> bool:
    """Whether a column `id` tells each row of a split from the others."""
    if "id" not in rows.column_names:
        return False
    ids = [str(i) for i in rows["id"][:] if i is not None and str(i).strip()]
    return len(set(ids)) == len(rows)


def fingerprint(rows: "Dataset") -> str:
    """A hash of the content of rows."""
    digest = hashlib.sha256()
    for row in every_row(rows):
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def cached_fingerprint(rows: "Dataset") -> str:
    """The `fingerprint` of rows, which are read only once for all starts."""
    return remembered(["fingerprint", rows_hash(rows)], lambda: {"fingerprint": fingerprint(rows)})["fingerprint"]


def row_place(row_id: str, own: bool) -> str:
    """The place of a row in the source: ``train row 7``, counted from 1, or ``train row with id 'q7'``.

    Args:
        row_id: The id from `checked`.
        own: Whether it contains the row's own id, which may be a number too, and not its position.
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
    except UnicodeEncodeError:  # JSON can contain half a surrogate pair, UTF-8 cannot
        return f"the text in column {column!r} holds half a character"
    return None if value.strip() else f"the text in column {column!r} is empty"
