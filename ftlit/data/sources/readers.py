"""Local files as data sets: readers by file ending, column types, and a cache by file content."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ftlit.data.sources.conll import conll_rows
from ftlit.data.sources.formats import (
    Located,
    Reader,
    delimited_rows,
    describe_value,
    json_rows,
    jsonl_rows,
    parquet_file,
    parquet_rows,
    text_rows,
)
from ftlit.data.sources.squad_json import squad_features, squad_rows
from ftlit.errors import UserError, user_error
from ftlit.util.cache import remembered
from ftlit.util.files import file_digest

if TYPE_CHECKING:
    import datasets

# Part of the cache key of `datasets`: to be raised when a reader returns different rows for the same file.
READERS_VERSION = 2


def read_file(path: Path, reader: Reader | None = None) -> datasets.Dataset:
    """The rows of a local file, cached by ``datasets`` by the file's content, not its date.

    Args:
        path: The file.
        reader: Its reader; by default that of its ending in ``READERS``.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    reader = reader or READERS[path.suffix.lower()]
    digest = file_digest([path])
    features = _file_features(path, reader, digest)
    # A tuple, because `datasets` would take a list for shards of the data.
    kwargs = {"path": str(path), "digest": digest, "version": READERS_VERSION, "columns": tuple(features or ())}
    try:
        return datasets.Dataset.from_generator(_generate, features=features, gen_kwargs={**kwargs, "reader": reader})
    except DatasetGenerationError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise (user_error(error) or UserError(f"{path} cannot be read: {reason}")) from None


def read_shards(paths: list[Path], reader: Reader) -> datasets.Dataset:
    """The rows of all parts of a split, such as ``train-00000-of-00002.parquet`` and the next.

    Raises:
        UserError: If a part is missing.
    """
    from datasets import concatenate_datasets

    count = int(paths[0].stem.rpartition("-")[2])
    if len(paths) != count:
        raise UserError(f"{paths[0].parent} has {len(paths)} of the {count} parts of which {paths[0].name} is one")
    return concatenate_datasets([read_file(path, reader) for path in sorted(paths)])


def _generate(path: str, digest: str, version: int, columns: tuple[str, ...], reader: Reader) -> Iterator[dict[str, Any]]:
    """The rows for ``Dataset.from_generator``; ``version`` is only a part of its cache key."""
    file, empty = Path(path), True
    for _, row in reader(file):
        empty = False
        yield {key: row.get(key) for key in columns} if columns else row
    if empty:
        raise UserError(f"{file} has no rows")
    if file_digest([file]) != digest:
        raise UserError(f"{file} changed while it was being read; start again")


def _file_features(path: Path, reader: Reader, digest: str) -> datasets.Features | None:
    """The column types of a file, for JSON inferred from all rows; None if all columns are text."""
    import datasets

    if reader is parquet_rows:
        return _parquet_features(path)
    if reader is squad_rows and (features := squad_features(path)):
        return features
    if path.suffix.lower() in (".json", ".jsonl"):
        found = remembered(
            ["column types", digest, READERS_VERSION, reader], lambda: features_of(partial(reader, path), str(path)).to_dict()
        )
        return datasets.Features.from_dict(found)
    return None


def _parquet_features(path: Path) -> datasets.Features:
    import datasets
    import pyarrow as pa

    schema = parquet_file(path).schema_arrow
    # Categories of pandas are read as the values that they stand for.
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema]
    try:
        return datasets.Features.from_arrow_schema(pa.schema(plain, metadata=schema.metadata))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"{path} has a column of a type that cannot be read: {' '.join(str(error).split())}") from None


def features_of(rows: Callable[[], Located], source: str) -> datasets.Features:
    """All keys of the rows in order of appearance, each with the one type that fits all of its values."""
    import datasets
    import pyarrow as pa

    schema, columns, located = pa.schema([]), {}, rows()
    while chunk := list(itertools.islice(located, 1000)):
        for where, row in chunk:
            if not isinstance(row, dict):
                raise UserError(f"{source}, {where}: expected an object with named columns, got {describe_value(row)}")
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
    """Raise an error that names the first value in ``chunk`` that does not fit the values before it."""
    import pyarrow as pa

    for where, row in chunk:
        for key, value in row.items():
            try:
                schema = _widened(schema, [{key: value}])
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                known = schema.get_field_index(key) if isinstance(key, str) else -1
                reason = f"but {schema.field(known).type} in the rows before it" if known >= 0 else str(error)
                raise UserError(f"{source}, {where}: the column {key!r} is {describe_value(value)}, {reason}") from failure
    raise UserError(f"{source}, {chunk[0][0]} to {chunk[-1][0]}: {failure}") from failure


READERS: dict[str, Reader] = {
    ".csv": partial(delimited_rows, delimiter=","),
    ".tsv": partial(delimited_rows, delimiter="\t"),
    ".json": json_rows,
    ".jsonl": jsonl_rows,
    ".parquet": parquet_rows,
    ".txt": text_rows,
    ".conll": conll_rows,
    ".conllu": conll_rows,
    ".conllup": conll_rows,
    ".iob": conll_rows,
    ".bio": conll_rows,
}
