"""Readers of local files: one function for each format, which yields the rows with their places in the file.

Csv fields are texts, numbers in JSON are numbers, and a row that does not fit raises an error.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ftlit.errors import UserError

Located = Iterator[tuple[str, Any]]
Reader = Callable[[Path], Located]


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers from 1, including line ends."""
    # Bytes are split at line feeds only, and the line of a byte that is not UTF-8 is known, unlike in text mode.
    with path.open("rb") as file:
        yield from decode_lines(file, str(path))


def decode_lines(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """The decoded lines of a binary file with their numbers from 1."""
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise UserError(f"{name}, line {number}: the byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from None
        yield number, text


def delimited_rows(path: Path, delimiter: str) -> Located:
    """Rows of csv or tsv by the names of the header, with all fields as text."""
    advice = "a field that contains a quote must be quoted, with each quote inside it doubled"
    # The limit is global; its default of 131072 characters is shorter than a long document.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((line for _, line in lines(path)), delimiter=delimiter, strict=True)
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
        if delimiter == "\t" and any("\t" in field and "\n" in field for field in fields):
            raise UserError(
                f"{path}, {where}: a field runs over {reader.line_num - start + 1} lines and holds tabs, so a stray quote is "
                f"likely: {advice}"
            )
        row += 1
        yield where, dict(zip(header, fields, strict=True))


def _checked_header(path: Path, header: list[str]) -> list[str]:
    for place, name in enumerate(header, start=1):
        if not name.strip():
            raise UserError(f"{path}, the header: column {place} has no name")
        if name in header[: place - 1]:
            raise UserError(f"{path}, the header: two columns are named {name!r}")
    return header


def jsonl_rows(path: Path) -> Located:
    """One JSON object a line."""
    for number, line in lines(path):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None
            yield f"line {number}", row


def json_rows(path: Path) -> Located:
    """The objects of a JSON list."""
    yield from ((f"row {number}", row) for number, row in enumerate(json_list(path), start=1))


def json_list(path: Path) -> list[Any]:
    """The list in a JSON file, at the top level or under the key ``data``."""
    try:
        content = json.loads("".join(line for _, line in lines(path)))
    except json.JSONDecodeError as error:
        hint = "; if each line is an object of its own, name the file .jsonl" if error.msg == "Extra data" else ""
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}){hint}") from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f'{path} should contain a list of objects, or an object {{"data": [...]}}')
    return rows


def parquet_file(path: Path) -> Any:
    """An open parquet file, whose rows have not been read yet."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as parquet: {error}") from None


def parquet_rows(path: Path) -> Located:
    """The rows of a parquet file."""
    rows: Iterable[Any] = itertools.chain.from_iterable(b.to_pylist() for b in parquet_file(path).iter_batches(1000))
    yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def text_rows(path: Path) -> Located:
    """Each line as the column ``text``, except blank lines."""
    yield from ((f"line {n}", {"text": line.rstrip("\r\n")}) for n, line in lines(path) if line.strip())


def describe_value(value: Any) -> str:
    """A value and its type for an error message; a long value is cut."""
    text = ascii(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
