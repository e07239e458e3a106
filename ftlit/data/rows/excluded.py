"""Rows of train that a file lists to be left out."""

from pathlib import Path
from typing import TYPE_CHECKING

from ftlit.data.sources.formats import lines
from ftlit.data.sources.readers import READERS
from ftlit.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

KEY = "id"  # column of the ids
SPLITS = ("train", "validation", "test")


def listed_ids(file: str) -> list[str]:
    """The ids in a file: one a line in a text file, or the column ``id`` of a table, such as label_errors.jsonl.

    Args:
        file: Path of the file. An id is that of `predictions`, such as ``train:17``; without a split, it is one of train.

    Raises:
        UserError: The file does not exist, cannot be read, or lists nothing.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"data.exclude {file!r} is not a file; expected one with the ids of rows of train")
    ids = _of_lines(path) if path.suffix.lower() == ".txt" else _of_table(path, file)
    if not ids:
        raise UserError(f"data.exclude {file!r} lists no row; remove the option, or list the ids of rows of train")
    return [id_ if id_.partition(":")[0] in SPLITS else f"train:{id_}" for id_ in ids]


def _of_lines(path: Path) -> list[str]:
    return [line.strip() for _, line in lines(path) if line.strip()]


def _of_table(path: Path, file: str) -> list[str]:
    if (reader := READERS.get(path.suffix.lower())) is None:
        raise UserError(f"data.exclude {file!r} ends in none of {', '.join(READERS)}")
    ids = []
    for place, row in reader(path):
        if row.get(KEY) is None or not str(row[KEY]).strip():
            raise UserError(f"data.exclude {file!r}: {place} has no {KEY!r}; each row should have the id of a row of train")
        ids.append(str(row[KEY]).strip())
    return ids


def without_listed(train: "Dataset", source_ids: set[str], file: str) -> "Dataset":
    """The rows of train without those that a file lists.

    Args:
        train: The rows of train in use, with ``row_id``.
        source_ids: The ids of train in the source, also those that are not in use, such as rows cut off as validation.
        file: The file.

    Raises:
        UserError: The file names rows that train does not have, or leaves none.
    """
    listed = listed_ids(file)
    if unknown := [id_ for id_ in listed if id_ not in source_ids]:
        raise UserError(
            f"data.exclude {file!r} lists {len(unknown)} ids that no row of train has, such as {unknown[0]!r}; ids are those "
            f"of rows of train, such as {next(iter(train['row_id']))!r}"
        )
    out = set(listed)
    kept = [i for i, id_ in enumerate(train["row_id"][:]) if id_ not in out]
    if not kept:
        raise UserError(f"data.exclude {file!r} lists all {len(train)} rows of train that are in use")
    return train.select(kept) if len(kept) < len(train) else train
