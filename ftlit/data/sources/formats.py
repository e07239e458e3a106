"""Readers of local files: one function for each format, which yields the rows with their places in the file.

Csv fields are texts, numbers in JSON are numbers, and a row that does not fit raises an error.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ftlit.errors import UserError
from ftlit.util.files import LFS_POINTER

Located = Iterator[tuple[str, Any]]
Reader = Callable[[Path], Located]

INDEX = "Unnamed: 0"  # as pandas calls the column without a name in which it saves its index
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
IS_POINTER = "it is a pointer of Git LFS and not the file itself; fetch it with: git lfs pull"


def opened(path: Path) -> BinaryIO:
    """The open file, in bytes.

    Raises:
        UserError: If it cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file holds a pointer of Git LFS instead of its content."""
    with opened(path) as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER.encode()


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers from 1, including line ends."""
    # Bytes are split at line ends only, and the line of a byte that is not UTF-8 is known, unlike in text mode.
    with opened(path) as file:
        yield from decode_lines(file, str(path))


def decode_lines(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """The decoded lines of a binary file with their numbers from 1."""
    for number, line in enumerate(_lines(iter(file)), start=1):
        if number == 1 and line.startswith(LFS_POINTER.encode()):
            raise UserError(f"{name}: {IS_POINTER}")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise UserError(f"{name}, line {number}: the byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from None
        if "\0" in text:
            raise UserError(f"{name}, line {number}: the byte 0x00 is in no text; save it as UTF-8, or replace a damaged file")
        yield number, text


def _lines(file: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a file; one without a single line feed ends its lines with carriage returns."""
    first = next(file, b"")
    yield from [first] if first.endswith(b"\n") else first.splitlines(keepends=True)
    yield from file


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
            header = _checked_header(path, fields, delimiter)
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


def _checked_header(path: Path, header: list[str], delimiter: str) -> list[str]:
    if other := next((sign for sign in SEPARATORS if len(header) == 1 and sign != delimiter and sign in header[0]), None):
        endings = {",": ".csv", "\t": ".tsv"}
        mend = f"name the file {endings[other]}" if other in endings else "save it with commas, or with tabs as .tsv"
        own = f"a {endings[delimiter]} file has {SEPARATORS[delimiter]}"
        raise UserError(f"{path}, the header: {header[0]!r} is separated by {SEPARATORS[other]}, and {own}; {mend}")
    if len(header) > 1 and not header[0].strip():
        header = [INDEX, *header[1:]]
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
                row = DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None
            yield f"line {number}", row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # Python would keep the last one
        keys = [key for key, _ in pairs]
        raise ValueError(f"an object has the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def json_rows(path: Path) -> Located:
    """The objects of a JSON list."""
    yield from ((f"row {number}", row) for number, row in enumerate(json_list(path), start=1))


def json_list(path: Path) -> list[Any]:
    """The list in a JSON file, at the top level or under the key ``data``."""
    text = "".join(line for _, line in lines(path))
    if not text.strip():
        raise UserError(f"{path} has no rows: the file is empty")
    try:
        content = DECODER.decode(text)
    except json.JSONDecodeError as error:
        hint = "; if each line is an object of its own, name the file .jsonl" if error.msg == "Extra data" else ""
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}){hint}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f'{path} should contain a list of objects, or an object {{"data": [...]}}')
    return rows


def parquet_file(path: Path) -> Any:
    """An open parquet file, whose rows have not been read yet."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # by parts of a row group
    except (pa.ArrowException, OSError) as error:
        if is_lfs_pointer(path):
            raise UserError(f"{path}: {IS_POINTER}") from None
        raise UserError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from None
    names = file.schema_arrow.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path}: two columns are named {twice!r}")
    return file


def parquet_rows(path: Path) -> Located:
    """The rows of a parquet file."""
    import pyarrow as pa

    rows: Iterable[Any] = itertools.chain.from_iterable(b.to_pylist() for b in parquet_file(path).iter_batches(1000))
    try:
        yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}") from None


def text_rows(path: Path) -> Located:
    """Each line as the column ``text``, except blank lines."""
    yield from ((f"line {n}", {"text": line.rstrip("\r\n")}) for n, line in lines(path) if line.strip())


def describe_value(value: Any) -> str:
    """A value and its type for an error message; a long value is cut."""
    text = ascii(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
