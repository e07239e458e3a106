"""Find damaged files in the folder of a model, whose own errors would say little."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ftlit.errors import UserError
from ftlit.util.files import LFS_POINTER, damaged, read_whole

P = ParamSpec("P")
R = TypeVar("R")
SETTINGS = ("config", "tokenizer", "tokenizer_config", "special_tokens_map", "added_tokens", "vocab", "adapter_config", "ftlit")
READ = (*(f"{name}.json" for name in SETTINGS), ".index.json", ".safetensors", "vocab.txt", "merges.txt", ".model", ".bin")
POINTER_BYTES = 1024  # pointers of Git LFS are smaller


def naming_damaged_files(folder_of: Callable[..., str | Path]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function that loads from a folder name the damaged file if there is one.

    Files that are empty or were not fetched are found before: a vocabulary of three lines would be taken as it is.

    Args:
        folder_of: Returns the folder for the function's arguments, or a name that is no folder.
    """

    def decorated(load: Callable[P, R]) -> Callable[P, R]:
        @wraps(load)
        def loading(*args: P.args, **kwargs: P.kwargs) -> R:
            folder = Path(folder_of(*args, **kwargs))
            check_fetched(folder)
            try:
                return load(*args, **kwargs)
            except Exception as error:
                own = isinstance(error, UserError) and error.__cause__ is None  # a check of the content
                if not own and (found := find_damage(folder)) is not None:
                    raise found from error
                raise

        return loading

    return decorated


def check_fetched(folder: Path) -> None:
    """Check that no file of a model is empty or a pointer of Git LFS.

    Raises:
        UserError: One is.
    """
    for path in _files(folder):
        if path.stat().st_size < POINTER_BYTES:
            content = path.read_bytes()
            if not content.strip() or content.startswith(LFS_POINTER.encode()):
                read_whole(path)


def find_damage(folder: Path) -> UserError | None:
    """The error for the first file of a model that cannot be read; None if all can."""
    for path in _files(folder):
        try:
            _read(path)
        except UserError as error:
            return error
        except Exception as error:  # of the libraries' own kinds
            return damaged(path, " ".join(str(error).split())[:200])
    return None


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(READ) and path.is_file())


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt"):
            return None
    if path.name == "tokenizer.json":
        from tokenizers import Tokenizer

        read_whole(path)
        return Tokenizer.from_file(str(path))
    return json.loads(read_whole(path)) if path.suffix == ".json" else None
