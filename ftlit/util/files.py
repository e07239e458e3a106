"""Write files atomically, and find files inside installed packages."""

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

from ftlit.errors import UserError, near


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary file and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; an empty dictionary if the file does not exist."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def resolve_package_path(name: str) -> Path:
    """Find the file or folder ``package:<module>/<path>`` inside an installed package, without importing the package."""
    match = re.fullmatch(r"package:([A-Za-z_]\w*)((?:/.*)?)", name)
    if not match:
        raise UserError(f"{name!r} should read package:<module>/<path>, for example package:my_corpus/data/english")
    module, inner = match[1], match[2].strip("/")
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise UserError(
            f"{name!r}: the Python package {module!r} is not installed; try: pip install {module.replace('_', '-')}"
        )
    # A module that is a single file has no folder of its own.
    roots = [Path(root) for root in spec.submodule_search_locations or [str(Path(spec.origin or "").parent)]]
    for root in roots:
        if (root / inner).exists():
            return root / inner
    folder, missing = roots[0], ""
    for missing in Path(inner).parts:
        if not (folder / missing).exists():
            break
        folder /= missing
    raise UserError(f"{name!r}: {folder.name!r} has no {missing!r}. {near(missing, file_names(folder))}")


def file_names(folder: Path) -> list[str]:
    """Names of the entries of a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
