"""Loading of rows from a file, a folder, a Python function, an installed package or the Hugging Face hub.

The result is a ``datasets.Dataset`` for each split. Local files are read literally: csv fields are texts, numbers in JSON
are numbers, and a row that does not fit raises an error with its place.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlit.data.sources.folders import Loaders, Source, folder_source, only_file
from ftlit.data.sources.formats import Reader
from ftlit.data.sources.readers import READERS, features_of
from ftlit.data.sources.split_names import NAMES, check_none_left, splits_by_name
from ftlit.errors import UserError, near
from ftlit.util.files import file_names, resolve_package_path
from ftlit.util.hub import LOADING_ERRORS
from ftlit.util.trust import FUNCTION, present_folder_last

if TYPE_CHECKING:
    import datasets


def load_splits(
    dataset: str,
    config_name: str | None = None,
    splits: dict[str, str | None] | None = None,
    readers: Mapping[str, Reader] | None = None,
    revision: str | None = None,
) -> dict[str, datasets.Dataset]:
    """The rows of each split of a source, as `load_source` finds them."""
    return load_source(dataset, config_name, splits, readers, revision=revision)[0]


def load_source(
    dataset: str,
    config_name: str | None = None,
    splits: dict[str, str | None] | None = None,
    readers: Mapping[str, Reader] | None = None,
    strict: bool = True,
    revision: str | None = None,
) -> tuple[dict[str, datasets.Dataset], list[str]]:
    """The rows of each split of a source, and the names of its files or splits that hold rows and belong to no split.

    Args:
        dataset: A file, a folder with files named by split (csv, tsv, json, jsonl, parquet, txt, conll, conllu, iob,
            bio), a folder saved by ``datasets``, ``package:<module>/<path>`` inside an installed package,
            ``module:function`` that returns the splits, or a name on the Hugging Face hub.
        config_name: Configuration of a data set on the hub, for example ``sst2`` of ``nyu-mll/glue``.
        splits: The source's own name of a split if it differs, for example ``{validation: dev}``, or a part of a split,
            for example ``{validation: "train[90%:]"}``; None leaves the split out.
        readers: Readers of local files by ending that replace the usual ones, such as ``{".txt": conll_rows}``.
        strict: Whether such a name is an error while train or validation is missing.
        revision: Branch, tag or commit of a data set on the hub.

    Raises:
        UserError: If the source does not exist, cannot be read, or lacks a split that ``splits`` names.
    """
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    splits = splits or {}
    if unknown := [name for name in splits if name not in NAMES]:
        raise UserError(f"data.splits has the key {unknown[0]!r}. {near(unknown[0], NAMES)}")
    loaders, sure = _source(dataset, config_name, READERS | dict(readers or {}), revision)
    given = {part for wanted in splits.values() for part in _parts(wanted or "")}
    named = splits_by_name(loaders, given)
    chosen = {}
    for name, found in named.items():
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
    left = sorted(sure - given.union(*named.values()))
    if strict:
        check_none_left(dataset, left, {*chosen, *splits})
    for name, rows in chosen.items():
        if len(rows) == 0:
            raise UserError(f"data.dataset {dataset!r}: the split {name!r} has no rows")
    return chosen, left


def _source(dataset: str, config_name: str | None, readers: Mapping[str, Reader], revision: str | None) -> Source:
    """What is found under the name of a source."""
    if not dataset.strip():
        raise UserError("data.dataset is empty; it should be a file, a folder, module:function or a name on the hub")
    local = Path(dataset).expanduser().exists() or dataset.startswith("package:") or FUNCTION.fullmatch(dataset)
    if revision is not None and local:
        raise UserError(f"data.revision {revision!r} is a revision on the hub, but data.dataset {dataset!r} is not; remove it")
    if not dataset.startswith("package:") and FUNCTION.fullmatch(dataset):
        return _from_function(dataset)
    path = resolve_package_path(dataset) if dataset.startswith("package:") else Path(dataset).expanduser()
    if path.is_dir():
        return folder_source(path, readers)
    if path.is_file():
        if path.suffix.lower() not in readers:
            raise UserError(f"{path} ends in none of {', '.join(readers)}")
        return Source({"train": partial(only_file, [path], readers)})
    if path.is_symlink():
        raise UserError(f"data.dataset {dataset!r} is a link to something that does not exist")
    hub_name = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", dataset)
    if not hub_name or path.suffix.lower() in readers:
        raise UserError(f"data.dataset {dataset!r} does not exist{_neighbours(path)}")
    return Source(_from_hub(dataset, config_name, path, revision))


def _parts(wanted: str) -> list[str]:
    """The names of the splits in a part or a concatenation such as ``train[:10%]+test``, and the whole text."""
    return [wanted, *(re.sub(r"\[.*", "", piece).strip() for piece in wanted.split("+"))]


def _part(loaders: Loaders, wanted: str, name: str, dataset: str) -> datasets.Dataset:
    """The split ``wanted``, which may be a part or a concatenation of splits such as ``train[:10%]+test``."""
    from datasets import ReadInstruction, concatenate_datasets

    if wanted in loaders:
        return loaders[wanted]()
    _, *sources = _parts(wanted)
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


def _from_function(dataset: str) -> Source:
    """The result of ``module:function``; the module may be in the current folder, as with ``python -m``."""
    module_name, function_name = dataset.split(":")
    present_folder_last()
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
    loaders = {str(split): partial(_checked_rows, rows, f"{dataset}, split {split!r}") for split, rows in given.items()}
    return Source(loaders, frozenset(loaders))


def _checked_rows(rows: Any, where: str) -> datasets.Dataset:
    import datasets

    if isinstance(rows, datasets.Dataset):
        return rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{where} is {type(rows).__name__}; it should be a list of dicts or a datasets.Dataset")
    features = features_of(lambda: ((f"row {n}", row) for n, row in enumerate(rows, start=1)), where)
    return datasets.Dataset.from_list([{key: row.get(key) for key in features} for row in rows], features=features)


def _from_hub(dataset: str, config_name: str | None, path: Path, revision: str | None) -> Loaders:
    import datasets
    from datasets.exceptions import DatasetsError

    unreachable = (
        f"data.dataset {dataset!r} is neither a file or folder here{_neighbours(path)} nor a data set of the hub that "
        "can be reached"
    )
    if f".{dataset}" in READERS or dataset == "text":
        # `datasets` takes this for a file format and would read any file in the current folder.
        raise UserError(unreachable)
    try:
        loaded = datasets.load_dataset(dataset, config_name, revision=revision)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"data.dataset {dataset!r} with data.config_name {config_name!r}: {reason}") from error
    except (*LOADING_ERRORS, DatasetsError) as error:
        raise UserError(f"{unreachable} ({str(error).strip().splitlines()[0]})") from error
    return {str(split): partial(loaded.__getitem__, split) for split in loaded}


def commit_of_rows(rows: datasets.Dataset) -> str | None:
    """The commit of a data set on the hub, which is part of its place in the cache; None for other rows."""
    places = " ".join(file["filename"] for file in rows.cache_files)
    found = re.search(r"[\\/]([0-9a-f]{40})[\\/][^\\/]+\.arrow", places)
    return found[1] if found else None


def _neighbours(path: Path) -> str:
    """A parenthesis with the files beside the missing ``path``."""
    if not path.parent.is_dir():
        return f" (nor does the folder {path.parent})"
    return f" (in the folder {path.parent}: {near(path.name, file_names(path.parent)).rstrip('.')})"
