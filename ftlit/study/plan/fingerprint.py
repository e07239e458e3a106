"""Identify the data of a config without reading its rows: a hash of the files behind it."""

import hashlib
import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.util.files import resolve_package_path
from ftlit.util.options import declared, option
from ftlit.util.settings import flat

CHUNK_BYTES = 1 << 20
_RECORDED: dict[str, str] = {}  # hashes by name, of what this machine may lack


def data_fingerprint(config: dict[str, Any]) -> str:
    """A hash of every file, folder, package and module that the section `data` of a config names.

    Data sets on a hub are identified by their names only.
    """
    digest = hashlib.sha256()
    texts = _texts(config.get("data"))
    for text in sorted(texts):
        content = (_content(text) or _RECORDED.get(text, "")) if texts[text] else ""
        digest.update(text.encode() + b"\0" + content.encode() + b"\0")
    return digest.hexdigest()[:16]


def contents(configs: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The hash of every file, folder, package and module that the sections `data` of configs name, by its name."""
    named = {text for config in configs for text, may in _texts(config.get("data")).items() if may}
    return {text: content for text in sorted(named) if (content := _content(text))}


def use_recorded(hashes: dict[str, str]) -> None:
    """Use the hashes that a study recorded where its files do not exist here, so that its runs are recognised."""
    _RECORDED.update(hashes)


def _texts(section: Any) -> dict[str, bool]:
    """Every text in the section `data`, and whether it may name a file: not if it is a column beside a folder of its name."""
    found: dict[str, bool] = {}
    for key, value in flat(section, "data"):
        single, own = isinstance(value, str), declared(key) == "data"  # the options of a user's class may be lists of files
        named = option(key).file and (single or own) and not key.endswith(".class_path")
        for text in [value] if single else _nested(value):
            found[text] = found.get(text, False) or named
    return found


def _nested(value: Any) -> list[str]:
    """The texts in a list of texts, of numbers, or of such lists."""
    if isinstance(value, list):
        return [text for inner in value for text in _nested(inner)]
    return [value] if isinstance(value, str) else []


def _content(text: str) -> str:
    """A hash of the file, folder, package or module that a text names; empty if it names none."""
    if text.startswith("package:"):
        try:
            return _hash(resolve_package_path(text))
        except UserError:
            return ""  # the check of the config reports it
    if re.fullmatch(r"[\w.]+:\w+", text):
        source = _source(text.split(":")[0])
        return _hash(source) if source else ""
    path = Path(text).expanduser()
    return _hash(path) if len(text) < 1000 and path.exists() else ""


def _source(module: str) -> Path | None:
    """The file of a module, found without importing it, since importing its parents can take seconds."""
    first, *inner = module.split(".")
    local = Path(*module.split(".")).with_suffix(".py")
    if local.is_file():
        return local
    spec = importlib.util.find_spec(first)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin) if not inner else Path(spec.origin).parent.joinpath(*inner).with_suffix(".py")
    return path if path.is_file() else None


@cache
def _hash(path: Path) -> str:
    """A hash of a file, or of the names and contents of the files in a folder."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
