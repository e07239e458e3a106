"""Write files atomically, read them whole, and find files inside installed packages."""

import errno
import hashlib
import importlib.util
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftlit.errors import DamagedFileError, UserError, near

PART = ".part"  # ends the names of files that are being written
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a full disk, an exhausted quota, and a limit of the file size
LFS_POINTER = "version https://git-lfs"  # begins the text that Git has in place of a file it did not fetch


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a path at which to write the new content of `path`; it is flushed to the disk and renamed at the end.

    The temporary name belongs to this process, and is removed if an error occurs. So a file is there whole or not at all,
    even after a loss of power.

    Args:
        path: The file.
        durable: Whether to wait until the folder, with the new name, is on the disk too. False saves milliseconds for a file
            of which the old content is as good after a loss of power, or after which another one is written to the folder.

    Raises:
        UserError: The system refuses to write, for example because the disk is full.
    """
    beside = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        _flush(beside)
        os.replace(beside, path)
        if durable:
            with suppress(OSError):  # not every file system flushes folders
                _flush(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> UserError:
    """The error for a file that cannot be written."""
    advice = "; make room there, then repeat the command (fit and predict go on with --resume)" if error.errno in FULL else ""
    return UserError(f"{path} could not be written: {(error.strerror or str(error)).lower()}{advice}")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error was caused by a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Replace the content of `path` by `text`, atomically."""
    with replacing(path, durable) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", durable)


def damaged(path: Path, fact: str) -> DamagedFileError:
    """The error for a file whose content is not what it should be.

    Args:
        path: The file.
        fact: What is wrong with it, such as ``it is empty``.
    """
    return DamagedFileError(f"{path} is damaged: {fact}; restore it from a copy, or make it again")


def read_whole(path: Path) -> str:
    """Read a text file that cannot be empty.

    Raises:
        UserError: The file cannot be read, is empty, is not UTF-8, or was not fetched by Git LFS.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise damaged(path, "it is not a text in UTF-8") from error
    if not text.strip("\0 \t\r\n"):
        raise damaged(path, "it is empty")
    if text.startswith(LFS_POINTER):
        raise damaged(path, "it is a pointer of Git LFS instead of the file, which `git lfs pull` fetches")
    return text


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; an empty dictionary if the file does not exist.

    Raises:
        UserError: The file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_whole(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise damaged(path, f"it is not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise damaged(path, f"it holds {type(found).__name__}, not an object with keys")
    return found


def file_digest(paths: Iterable[Path]) -> str:
    """A hash of the contents of files, one after the other.

    Raises:
        UserError: One cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


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
