"""Readers of local files: rows by the letter, each with its place, cached by content.

A csv field is the text that stands in it, a number in JSON is a number, and a row that does not fit stops the run.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ftlit.errors import UserError, user_error

if TYPE_CHECKING:
    import datasets

Located = Iterator[tuple[str, Any]]

# Part of the cache key of `datasets`: raise it when a reader gives other rows than before for the same file.
READERS_VERSION = 1


def read_file(path: Path) -> datasets.Dataset:
    """The rows of one local file, kept by ``datasets`` in its cache under the file's content, not its date."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    digest = _digest(path)
    features = _file_features(path)
    # A tuple, because `datasets` takes a list among these for shards of the data.
    kwargs = {"path": str(path), "digest": digest, "version": READERS_VERSION, "columns": tuple(features or ())}
    try:
        return datasets.Dataset.from_generator(_generate, features=features, gen_kwargs=kwargs)
    except DatasetGenerationError as error:
        raise (user_error(error) or error) from None


def _generate(path: str, digest: str, version: int, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The rows for ``Dataset.from_generator``; ``version`` stands here for its cache key only."""
    file, empty = Path(path), True
    for _, row in READERS[file.suffix.lower()](file):
        empty = False
        yield {key: row.get(key) for key in columns} if columns else row
    if empty:
        raise UserError(f"{file} has no rows")
    if _digest(file) != digest:
        raise UserError(f"{file} changed while it was being read; start again")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _file_features(path: Path) -> datasets.Features | None:
    """The column types of JSON, which need every row, and of parquet; None where every column is text."""
    if path.suffix.lower() in (".json", ".jsonl"):
        return features_of(partial(READERS[path.suffix.lower()], path), str(path))
    if path.suffix.lower() == ".parquet":
        import datasets

        return datasets.Features.from_arrow_schema(_parquet(path).schema_arrow)
    return None


def features_of(rows: Callable[[], Located], source: str) -> datasets.Features:
    """The union of the rows' keys, in the order in which they come, each with the one type that holds its values."""
    import datasets
    import pyarrow as pa

    schema, columns, located = pa.schema([]), {}, rows()
    while chunk := list(itertools.islice(located, 1000)):
        for where, row in chunk:
            if not isinstance(row, dict):
                raise UserError(f"{source}, {where}: expected an object with named columns, got {_shown(row)}")
            columns.update(dict.fromkeys(row))
        try:
            schema = _widened(schema, [row for _, row in chunk])
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            _blame(schema, chunk, source, error)
    if not columns:
        raise UserError(f"{source} has no rows")
    features = datasets.Features.from_arrow_schema(schema)
    return datasets.Features({name: features[name] for name in columns})


def _widened(schema: Any, rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.unify_schemas([schema, pa.schema(list(pa.array(rows).type))], promote_options="permissive")


def _blame(schema: Any, chunk: list[tuple[str, Any]], source: str, failure: Exception) -> NoReturn:
    """Raises for the first value in ``chunk`` that does not fit what came before it."""
    import pyarrow as pa

    for where, row in chunk:
        for key, value in row.items():
            try:
                schema = _widened(schema, [{key: value}])
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                known = schema.get_field_index(key) if isinstance(key, str) else -1
                reason = f"in the rows before it is {schema.field(known).type}" if known >= 0 else str(error)
                raise UserError(f"{source}, {where}: the column {key!r} is {_shown(value)}, {reason}") from failure
    raise UserError(f"{source}, {chunk[0][0]} to {chunk[-1][0]}: {failure}") from failure


def _shown(value: Any) -> str:
    text = ascii(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Bytes are split at line feeds only; text mode would also lose the line of a byte that is not UTF-8.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise UserError(f"{path}, line {number}: the byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from None
            yield number, text


def _delimited_rows(path: Path, delimiter: str) -> Located:
    advice = "a field that holds a quote must stand in quotes, with each quote inside it doubled"
    # The limit is the process's own; its default of 131072 characters is less than a long document.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    header: list[str] = []
    row = 0
    while True:
        start = reader.line_num + 1
        where = f"row {row + 1} (line {start})" if header else "the header"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, {where}: {error}; {advice}") from None
        if not fields:
            continue
        if not header:
            header = _checked_header(path, fields)
            continue
        if len(fields) != len(header):
            runs = reader.line_num - start + 1
            hint = f"; it runs over {runs} lines, so a stray quote is likely: {advice}" if runs > 1 else ""
            raise UserError(f"{path}, {where}: {len(fields)} fields, but the header has {len(header)}{hint}")
        row += 1
        yield where, dict(zip(header, fields, strict=True))


def _checked_header(path: Path, header: list[str]) -> list[str]:
    for place, name in enumerate(header, start=1):
        if not name.strip():
            raise UserError(f"{path}, the header: column {place} has no name")
        if name in header[: place - 1]:
            raise UserError(f"{path}, the header: two columns are named {name!r}")
    return header


def _jsonl_rows(path: Path) -> Located:
    for number, line in _lines(path):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None
            yield f"line {number}", row


def _json_rows(path: Path) -> Located:
    try:
        content = json.loads("".join(line for _, line in _lines(path)))
    except json.JSONDecodeError as error:
        hint = "; if each line is an object of its own, name the file .jsonl" if error.msg == "Extra data" else ""
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}){hint}") from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f'{path} should hold a list of objects, or an object {{"data": [...]}}')
    yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as parquet: {error}") from None


def _parquet_rows(path: Path) -> Located:
    rows: Iterable[Any] = itertools.chain.from_iterable(b.to_pylist() for b in _parquet(path).iter_batches(1000))
    yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _text_rows(path: Path) -> Located:
    yield from ((f"line {n}", {"text": line.rstrip("\r\n")}) for n, line in _lines(path) if line.strip())


READERS: dict[str, Callable[[Path], Located]] = {
    ".csv": partial(_delimited_rows, delimiter=","),
    ".tsv": partial(_delimited_rows, delimiter="\t"),
    ".json": _json_rows,
    ".jsonl": _jsonl_rows,
    ".parquet": _parquet_rows,
    ".txt": _text_rows,
}
