"""Folders saved by ``datasets``."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ftlit.data.sources.formats import IS_POINTER, is_lfs_pointer
from ftlit.errors import UserError
from ftlit.util.files import file_names

if TYPE_CHECKING:
    import datasets


def saved_splits(folder: Path) -> "dict[str, Callable[[], datasets.Dataset]] | None":
    """A loader for each split of a folder that ``datasets`` saved, or None for another folder.

    Raises:
        UserError: If the list of splits is damaged.
    """
    names = file_names(folder)
    if "dataset_dict.json" in names:
        splits = _json(folder / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not splits:
            raise UserError(f"{folder / 'dataset_dict.json'} is damaged: it lists no splits; save the data set again")
        return {str(split): partial(_load, folder / str(split)) for split in splits}
    return {"train": partial(_load, folder)} if "state.json" in names and "dataset_info.json" in names else None


def _load(folder: Path) -> "datasets.Dataset":
    import datasets

    try:
        rows = datasets.Dataset.load_from_disk(str(folder))
        rows.data.validate()
        return rows
    except Exception as error:  # whatever damaged files make `datasets` and Arrow raise
        raise _damage(folder, error) from error


def _damage(folder: Path, error: Exception) -> UserError:
    """A sentence that names the first file of the folder that cannot be read."""
    import pyarrow as pa

    if not folder.is_dir():
        return UserError(f"the folder {folder} does not exist, though dataset_dict.json lists it; save the data set again")
    for name in ("dataset_info.json", "state.json"):
        _json(folder / name)
    for entry in _json(folder / "state.json").get("_data_files") or []:
        path = folder / str(entry.get("filename"))
        try:
            with pa.memory_map(str(path)) as source:
                pa.ipc.open_stream(source).read_all().validate()
        except (OSError, pa.ArrowException) as problem:
            return _damaged_file(path, problem)
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"the folder {folder} cannot be read as saved by `datasets`: {reason}")


def _json(path: Path) -> dict:
    """The object in a file of the folder.

    Raises:
        UserError: If the file does not exist or is damaged.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged_file(path, error) from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds {type(found).__name__} instead of an object")
    return found


def _damaged_file(path: Path, error: Exception) -> UserError:
    if is_lfs_pointer(path):
        return UserError(f"{path} {IS_POINTER}")
    return UserError(f"{path} is damaged: {' '.join(str(error).split())}")
