"""What is computed once for a data set and read again at later starts, beside the features in the cache of `datasets`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftlit.util.files import write_text


def cache_folder() -> Path:
    """The folder of the cache, inside that of `datasets`."""
    import datasets

    folder = Path(datasets.config.HF_DATASETS_CACHE) / "ftlit"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_file(settings: list[Any], ending: str) -> Path:
    """The file of the cache for something that depends on these settings alone."""
    from datasets.fingerprint import Hasher

    return cache_folder() / f"{Hasher.hash(settings)}{ending}"


def cached_json(path: Path) -> Any:
    """The content of a file of the cache, or None if it does not exist or was damaged, so that it is made again."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def cache_json(path: Path, value: Any) -> None:
    """Write a file of the cache."""
    write_text(path, json.dumps(value), durable=False)


def remembered(settings: list[Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A result of an earlier start, or else of `compute`.

    Args:
        settings: Everything that the result depends on.
        compute: Gives a result that JSON can hold.
    """
    path = cache_file(settings, ".json")
    found = cached_json(path)
    if not isinstance(found, dict):
        found = compute()
        cache_json(path, found)
    return found
