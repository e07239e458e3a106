"""Predictions as parquet, written in row groups, so that memory does not grow with the number of rows."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Callable[[], Iterator[dict[str, Any]]]
BATCH_ROWS = 1024
GROUP_ROWS, GROUP_BYTES = 1 << 16, 1 << 25  # a row group ends when it has either
INTEGERS = range(-(1 << 63), 1 << 63)


def write_parquet(rows: Rows, path: Path, types: Mapping[str, Any]) -> None:
    """Write predictions to a parquet file.

    Args:
        rows: Gives the predictions, each time from the first.
        path: The file.
        types: Types of the columns, as in `TaskModule.prediction_types`. Others are inferred from all rows.

    Raises:
        UserError: A value does not fit its column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(rows, types)
    try:
        with pq.ParquetWriter(path, schema) as writer:
            for group in _groups(rows(), schema):
                writer.write_table(group)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"these predictions cannot be written as parquet ({reason}); choose jsonl") from error


def _groups(rows: Iterator[dict[str, Any]], schema: "pa.Schema") -> Iterator["pa.Table"]:
    import pyarrow as pa

    batches: list[pa.RecordBatch] = []
    while some := list(islice(rows, BATCH_ROWS)):
        batches.append(pa.RecordBatch.from_pylist([_row(row, schema) for row in some], schema))
        if len(batches) * BATCH_ROWS >= GROUP_ROWS or sum(batch.nbytes for batch in batches) >= GROUP_BYTES:
            yield pa.Table.from_batches(batches)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches)


def _row(row: dict[str, Any], schema: "pa.Schema") -> dict[str, Any]:
    import pyarrow as pa

    named = row["id"] if isinstance(row["id"], str) or pa.types.is_integer(schema.field("id").type) else json.dumps(row["id"])
    return {"truncated": False, **row, "id": named}


def _schema(rows: Rows, types: Mapping[str, Any]) -> "pa.Schema":
    """The types of all columns: ids are numbers if all are, else texts."""
    import pyarrow as pa

    names: dict[str, None] = {}
    whole = True
    for row in rows():
        names.update(dict.fromkeys(row))
        whole = whole and type(row["id"]) is int and row["id"] in INTEGERS
    known = {"id": int if whole else str, **types, "truncated": bool}
    others = [name for name in names if name not in known]
    columns = {name: arrow_type(kind) for name, kind in known.items()} | (_inferred(rows, others) if others else {})
    return pa.schema([*columns.items()])


def _inferred(rows: Rows, names: list[str]) -> dict[str, "pa.DataType"]:
    """The types of columns of which the task says nothing."""
    from ftlit.data.sources.readers import features_of

    def located() -> Iterator[tuple[str, dict[str, Any]]]:
        yield from ((f"row {n}", {name: row.get(name) for name in names}) for n, row in enumerate(rows(), start=1))

    return {field.name: field.type for field in features_of(located, "the predictions").arrow_schema}


def arrow_type(kind: Any) -> "pa.DataType":
    """The type of a column: a type of Python, a list with the type of its items, or a dictionary with those of its values."""
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(arrow_type(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(name, arrow_type(inner)) for name, inner in kind.items()])
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[kind]
