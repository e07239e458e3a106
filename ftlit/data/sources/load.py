"""Loading of rows from a file, a folder, a Python function, an installed package or the Hugging Face hub.

The result is a ``datasets.Dataset`` for each split. Local files are read literally: csv fields are texts, numbers in JSON
are numbers, and a row that does not fit raises an error with its place.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.data.sources.formats import Reader
from ftlit.data.sources.readers import READERS, features_of, read_file
from ftlit.errors import UserError, near
from ftlit.util.files import damaged, file_names, resolve_package_path

if TYPE_CHECKING:
    import datasets

Loaders = Mapping[str, "Callable[[], datasets.Dataset]"]

SPLITS = {"train": ["train"], "validation": ["validation", "valid", "val", "dev"], "test": ["test"]}


def load_splits(
    dataset: str,
    config_name: str | None = None,
    splits: dict[str, str | None] | None = None,
    readers: Mapping[str, Reader] | None = None,
) -> dict[str, datasets.Dataset]:
    """The rows of each split of a source.

    Args:
        dataset: A file, a folder with files named by split (csv, tsv, json, jsonl, parquet, txt, conll, iob,
            bio), a folder saved by ``datasets``, ``package:<module>/<path>`` inside an installed package,
            ``module:function`` that returns the splits, or a name on the Hugging Face hub.
        config_name: Configuration of a data set on the hub, for example ``sst2`` of ``nyu-mll/glue``.
        splits: The source's own name of a split if it differs, for example ``{validation: dev}``, or a part of a split,
            for example ``{validation: "train[90%:]"}``; None leaves the split out.
        readers: Readers of local files by ending that replace the usual ones, such as ``{".txt": conll_rows}``.

    Raises:
        UserError: If the source does not exist, cannot be read, or lacks a split that ``splits`` names.
    """
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    splits = splits or {}
    if unknown := [name for name in splits if name not in SPLITS]:
        raise UserError(f"data.splits has the key {unknown[0]!r}. {near(unknown[0], SPLITS)}")
    loaders = _loaders(dataset, config_name, READERS | dict(readers or {}))
    chosen = {}
    for name, aliases in SPLITS.items():
        found = [alias for alias in aliases if alias in loaders]
        if name in splits:
            if wanted := splits[name]:
                chosen[name] = _part(loaders, wanted, name, dataset)
        elif len(found) > 1:
            raise UserError(f"data.dataset {dataset!r} has {' and '.join(found)}: name one as data.splits.{name}")
        elif found:
            chosen[name] = loaders[found[0]]()
    if not chosen:
        there = ", ".join(loaders) or "nothing that can be read"
        raise UserError(
            f"data.dataset {dataset!r} has no train, validation or test split; it has: {there}. Name its splits in data.splits"
        )
    for name, rows in chosen.items():
        if len(rows) == 0:
            raise UserError(f"data.dataset {dataset!r}: the split {name!r} has no rows")
    return chosen


def _loaders(dataset: str, config_name: str | None, readers: Mapping[str, Reader]) -> Loaders:
    """A loader for each split or file of the source, by the source's own names."""
    if not dataset.startswith("package:") and re.fullmatch(r"[\w.]+:\w+", dataset):
        return _from_function(dataset)
    path = resolve_package_path(dataset) if dataset.startswith("package:") else Path(dataset).expanduser()
    if path.is_dir():
        return _from_folder(path, readers)
    if path.is_file():
        if path.suffix.lower() not in readers:
            raise UserError(f"{path} ends in none of {', '.join(readers)}")
        return {"train": partial(_only_file, [path], readers)}
    hub_name = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", dataset)
    if not hub_name or path.suffix.lower() in readers:
        raise UserError(f"data.dataset {dataset!r} does not exist{_neighbours(path)}")
    return _from_hub(dataset, config_name, path)


def _part(loaders: Loaders, wanted: str, name: str, dataset: str) -> datasets.Dataset:
    """The split ``wanted``, which may be a part or a concatenation of splits such as ``train[:10%]+test``."""
    from datasets import ReadInstruction, concatenate_datasets

    if wanted in loaders:
        return loaders[wanted]()
    sources = [re.sub(r"\[.*", "", piece).strip() for piece in wanted.split("+")]
    if missing := [source for source in sources if source not in loaders]:
        raise UserError(
            f"data.splits.{name} is {wanted!r}, and data.dataset {dataset!r} has no split {missing[0]!r}. "
            f"{near(missing[0], loaders)}"
        )
    whole = {source: loaders[source]() for source in sources}
    try:
        pieces = ReadInstruction.from_spec(wanted).to_absolute({source: len(rows) for source, rows in whole.items()})
    except (ValueError, AssertionError) as error:
        raise UserError(f"data.splits.{name} is {wanted!r}, which is neither a split nor a part such as train[:10%]") from error
    return concatenate_datasets([whole[p.splitname].select(range(p.from_, p.to)) for p in pieces])


def _from_function(dataset: str) -> Loaders:
    """The result of ``module:function``; the module may be in the current folder, as with ``python -m``."""
    module_name, function_name = dataset.split(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"data.dataset {dataset!r}: there is no Python module {error.name!r} here") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(
            f"data.dataset {dataset!r}: {module_name} has no function {function_name!r}. {near(function_name, known)}"
        )
    given = function()
    if not isinstance(given, Mapping):
        raise UserError(
            f"data.dataset {dataset!r} returned {type(given).__name__}; it should return a dict from split names to rows"
        )
    return {str(split): partial(_checked_rows, rows, f"{dataset}, split {split!r}") for split, rows in given.items()}


def _checked_rows(rows: Any, where: str) -> datasets.Dataset:
    import datasets

    if isinstance(rows, datasets.Dataset):
        return rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{where} is {type(rows).__name__}; it should be a list of dicts or a datasets.Dataset")
    features = features_of(lambda: ((f"row {n}", row) for n, row in enumerate(rows, start=1)), where)
    return datasets.Dataset.from_list([{key: row.get(key) for key in features} for row in rows], features=features)


def _from_folder(folder: Path, readers: Mapping[str, Reader]) -> Loaders:
    import datasets

    names = file_names(folder)
    if "dataset_dict.json" in names:
        saved = _from_disk(datasets.DatasetDict, folder)
        return {str(split): partial(saved.__getitem__, split) for split in saved}
    if "state.json" in names and "dataset_info.json" in names:
        return {"train": partial(_from_disk, datasets.Dataset, folder)}
    files: dict[str, list[Path]] = {}
    for name in names:
        if (folder / name).is_file() and Path(name).suffix.lower() in readers:
            files.setdefault(Path(name).stem, []).append(folder / name)
    if not files:
        raise UserError(
            f"the folder {folder} has no file such as train.csv; it should have train, validation or test files that "
            f"end in one of {', '.join(readers)}. There are: {', '.join(names) or 'no files'}"
        )
    return {stem: partial(_only_file, paths, readers) for stem, paths in files.items()}


def _from_disk(kind: Any, folder: Path) -> Any:
    """Load a folder that was saved by ``datasets``."""
    try:
        return kind.load_from_disk(str(folder))
    except Exception as error:  # of many kinds: the folder holds JSON and Arrow files
        reason = " ".join(str(error).split())[:200]
        raise damaged(folder, f"datasets cannot load what it saved there ({type(error).__name__}: {reason})") from error


def _only_file(paths: list[Path], readers: Mapping[str, Reader]) -> datasets.Dataset:
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise UserError(f"{paths[0].parent} has {names} for one split; keep one of them")
    return read_file(paths[0], readers[paths[0].suffix.lower()])


def _from_hub(dataset: str, config_name: str | None, path: Path) -> Loaders:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    unreachable = (
        f"data.dataset {dataset!r} is neither a file or folder here{_neighbours(path)} nor a data set of the hub that "
        "can be reached"
    )
    if f".{dataset}" in READERS or dataset == "text":
        # `datasets` takes this for a file format and would read any file in the current folder.
        raise UserError(unreachable)
    try:
        loaded = datasets.load_dataset(dataset, config_name)
    except (OSError, HfHubHTTPError) as error:
        raise UserError(f"{unreachable} ({str(error).strip().splitlines()[0]})") from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"data.dataset {dataset!r} with data.config_name {config_name!r}: {reason}") from error
    return {str(split): partial(loaded.__getitem__, split) for split in loaded}


def _neighbours(path: Path) -> str:
    """A parenthesis with the files beside the missing ``path``."""
    if not path.parent.is_dir():
        return f" (nor does the folder {path.parent})"
    return f" (in the folder {path.parent}: {near(path.name, file_names(path.parent)).rstrip('.')})"
