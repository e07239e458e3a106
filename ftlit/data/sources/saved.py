"""Folders saved by ``datasets``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.data.sources.formats import IS_POINTER, is_lfs_pointer
from ftlit.errors import UserError
from ftlit.util.files import damaged, file_names, read_json

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
            raise damaged(folder / "dataset_dict.json", "it lists no splits")
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
        return damaged(folder, "it does not exist, though dataset_dict.json lists it")
    for name in ("dataset_info.json", "state.json"):
        _json(folder / name)
    for entry in _json(folder / "state.json").get("_data_files") or []:
        path = folder / str(entry.get("filename"))
        try:
            with pa.memory_map(str(path)) as source:
                pa.ipc.open_stream(source).read_all().validate()
        except (OSError, pa.ArrowException) as problem:
            return damaged(path, IS_POINTER if path.is_file() and is_lfs_pointer(path) else " ".join(str(problem).split()))
    reason = " ".join(str(error).split()) or type(error).__name__
    return damaged(folder, f"`datasets` cannot read what it saved there ({reason})")


def _json(path: Path) -> dict[str, Any]:
    """The object in a file of the folder.

    Raises:
        UserError: If the file does not exist or is damaged.
    """
    if not path.is_file():
        raise damaged(path, "it does not exist")
    return read_json(path)
