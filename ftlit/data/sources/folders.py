"""Folders with a file for each split."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ftlit.data.sources.formats import Reader
from ftlit.data.sources.readers import read_file, read_shards
from ftlit.data.sources.saved import saved_splits
from ftlit.data.sources.split_names import splits_by_name
from ftlit.errors import UserError
from ftlit.util.files import file_names

if TYPE_CHECKING:
    import datasets

Loaders = Mapping[str, "Callable[[], datasets.Dataset]"]

# A file whose ending also belongs to lists of labels, licences and settings is surely one of rows only beside others like it.
OFTEN_NO_ROWS = (".txt", ".json")
UNREADABLE = (".gz", ".bz2", ".xz", ".zst", ".zip", ".xlsx", ".xls", ".arrow", ".feather", ".pkl", ".pickle", ".npy")
NO_ROWS = ("readme", "license", "licence", "notice", "citation", "requirements")
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")


class Source(NamedTuple):
    """What a source holds.

    Args:
        loaders: A loader for each split or file, by the source's own names.
        sure: The names that surely hold rows, so that one of them that no split uses may be a mistake.
    """

    loaders: Loaders
    sure: frozenset[str] = frozenset()


def folder_source(folder: Path, readers: Mapping[str, Reader]) -> Source:
    """The files of a folder by split, or the splits that `datasets` saved there."""
    if (saved := saved_splits(folder)) is not None:
        return Source(saved, frozenset(saved))
    files: dict[str, list[Path]] = {}
    for path in _data_files(folder, readers):
        shard = SHARD.fullmatch(path.stem)
        files.setdefault(shard[1] if shard else path.stem, []).append(path)
    if not any(path.suffix.lower() in readers for paths in files.values() for path in paths):
        raise UserError(
            f"the folder {folder} has no file such as train.csv; it should have train, validation or test files that "
            f"end in one of {', '.join(readers)}. There are: {', '.join(file_names(folder)) or 'no files'}"
        )
    used = {name for names in splits_by_name(files).values() for name in names}
    endings = {path.suffix.lower() for name in used for path in files[name]}
    sure = {name for name, paths in files.items() if any(_surely_rows(path, endings) for path in paths)}
    return Source({name: partial(only_file, paths, readers) for name, paths in files.items()}, frozenset(sure))


def _data_files(folder: Path, readers: Mapping[str, Reader]) -> list[Path]:
    """The files of a folder that may hold rows, also in formats that are not read.

    Raises:
        UserError: If one of them is a link to nothing.
    """
    paths = [folder / name for name in file_names(folder) if not name.startswith((".", "_"))]
    found = [path for path in paths if path.suffix.lower() in (*readers, *UNREADABLE) and not path.is_dir()]
    if broken := [path for path in found if not path.is_file()]:
        raise UserError(f"{broken[0]} is a link to a file that does not exist")
    return found


def _surely_rows(path: Path, endings: set[str]) -> bool:
    ending = path.suffix.lower()
    return (ending not in OFTEN_NO_ROWS or ending in endings) and path.stem.lower() not in NO_ROWS


def only_file(paths: list[Path], readers: Mapping[str, Reader]) -> datasets.Dataset:
    """The rows of the file of a split, or of all its shards."""
    if unread := [path for path in paths if path.suffix.lower() not in readers]:
        raise UserError(f"{unread[0]} cannot be read, since it ends in none of {', '.join(readers)}; unpack or convert it")
    if all(SHARD.fullmatch(path.stem) for path in paths):
        return read_shards(paths, readers[paths[0].suffix.lower()])
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise UserError(f"{paths[0].parent} has {names} for one split; keep one of them")
    return read_file(paths[0], readers[paths[0].suffix.lower()])
