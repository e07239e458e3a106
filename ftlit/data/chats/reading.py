"""Read files of conversations whose messages have parts, calls or tools, which need not have the same keys and types."""

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ftlit.data.sources.formats import Located, Reader, json_rows, jsonl_rows


def chat_rows(path: Path, read: Reader) -> Located:
    """The rows of a JSON file, with columns that hold objects within objects as JSON texts.

    All rows of a column have one type, in which every object would get the keys of all others.
    """
    state = path.stat()
    columns = _nested_columns(str(path), state.st_mtime_ns, state.st_size, read)
    for place, row in read(path):
        yield place, _written(row, columns) if isinstance(row, dict) else row


def _written(row: dict[str, Any], columns: frozenset[str]) -> dict[str, Any]:
    inside = {key: row[key] for key in columns & row.keys()}
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in inside.items() if isinstance(value, list | dict)}
    return row | texts


@lru_cache(maxsize=16)
def _nested_columns(path: str, changed: int, size: int, read: Reader) -> frozenset[str]:
    """The columns of which a row holds objects within objects."""
    rows = (row for _, row in read(Path(path)) if isinstance(row, dict))
    return frozenset(key for row in rows for key, value in row.items() if _is_nested(value))


def _is_nested(value: Any) -> bool:
    entries = value if isinstance(value, list) else [value]
    return any(isinstance(part, list | dict) for entry in entries if isinstance(entry, dict) for part in entry.values())


def nested(value: Any) -> Any:
    """The objects of a cell that holds them as a JSON text; other cells are unchanged."""
    if not isinstance(value, str) or not value.startswith(("[{", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


READERS: Mapping[str, Reader] = {".jsonl": partial(chat_rows, read=jsonl_rows), ".json": partial(chat_rows, read=json_rows)}
