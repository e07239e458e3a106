"""The formats of local files, each a function that gives the rows of a file with their places.

A csv field is the text that stands in it, a number in JSON is a number, and a row that does not fit stops the run.
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
    """The lines of a UTF-8 file with their numbers from 1, line ends kept."""
    # Bytes are split at line feeds only; text mode would also lose the line of a byte that is not UTF-8.
    with path.open("rb") as file:
        yield from decode_lines(file, str(path))


def decode_lines(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Lines of bytes as `lines` gives those of a file."""
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise UserError(f"{name}, line {number}: the byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from None
        yield number, text


def delimited_rows(path: Path, delimiter: str) -> Located:
    """Rows of csv or tsv under the names of the header, every field as text."""
    advice = "a field that holds a quote must stand in quotes, with each quote inside it doubled"
    # The limit is the process's own; its default of 131072 characters is less than a long document.
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
    """The list that a JSON file holds, or holds under the key ``data``."""
    try:
        content = json.loads("".join(line for _, line in lines(path)))
    except json.JSONDecodeError as error:
        hint = "; if each line is an object of its own, name the file .jsonl" if error.msg == "Extra data" else ""
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}){hint}") from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f'{path} should hold a list of objects, or an object {{"data": [...]}}')
    return rows


def parquet_file(path: Path) -> Any:
    """A parquet file opened: its schema, and no rows yet."""
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
    """Each line that is not blank as the column ``text``."""
    yield from ((f"line {n}", {"text": line.rstrip("\r\n")}) for n, line in lines(path) if line.strip())


def shown(value: Any) -> str:
    """A value and its type for an error message, cut where it is long."""
    text = ascii(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
