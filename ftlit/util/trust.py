"""Opening what others may have made: a run or an exported folder gives data, and runs no code that its user did not name.

Whether code may run is decided by the command, never by the folder. While a folder is opened, a class that it names must
belong to ftlit, or derive from a class of ftlit and be imported already, as those of `trust_classes` are.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from ftlit.errors import UserError
from ftlit.util.private import checked_imports

LIBRARIES = ("ftlit", "lightning", "pytorch_lightning", "torch", "transformers", "bitsandbytes")  # may be imported
BASES = ("ftlit", "lightning", "pytorch_lightning", "torch.optim")  # packages whose classes a config's objects derive from
FUNCTION = re.compile(r"[\w.]+:\w+")  # of `data.dataset`
# Functions of ftlit that give rows. No other is called for a folder, since not every function may be called by a stranger.
OWN_ROWS = ("ftlit.data.chatterbot:topics",)

_remote_code = ContextVar("remote_code", default=True)


def remote_code(asked: bool) -> bool:
    """Whether to run the code that comes with a model: asked for, and not by a folder that is being opened."""
    return bool(asked) and _remote_code.get()


@contextmanager
def opening(trust_remote_code: bool = False) -> Iterator[None]:
    """Allow the code inside, which opens a folder, to import no other classes, and to run no code that comes with a model.

    Args:
        trust_remote_code: Whether the user allows to run code that comes with a model.

    Raises:
        UserError: The folder names a class that may not be imported.
    """
    token = _remote_code.set(trust_remote_code and _remote_code.get())
    try:
        with checked_imports(_check_import):
            yield
    except _RefusedError as refused:
        raise _refusal(refused.args[0]) from None
    finally:
        _remote_code.reset(token)


class _RefusedError(BaseException):
    """Not an `Exception`, since the parser would try the next type that an option may have."""


def _check_import(path: str, found: Any = None) -> None:
    if not (_may_be_imported(path) if found is None else _derives(found)):
        raise _RefusedError(path)


def check_class(path: Any) -> None:
    """Check that a folder may name a class.

    Raises:
        UserError: It may not.
    """
    if not isinstance(path, str) or not _may_be_imported(path):
        raise _refusal(path)


def _may_be_imported(path: str) -> bool:
    module, _, name = path.rpartition(".")
    return path.split(".")[0] in LIBRARIES or _derives(getattr(sys.modules.get(module), name, None))


def _derives(found: Any) -> bool:
    parents = getattr(found, "__mro__", ()) if isinstance(found, type) else ()
    return any(f"{parent.__module__}.".startswith(tuple(f"{base}." for base in BASES)) for parent in parents)


def _refusal(path: Any) -> UserError:
    return UserError(
        f"the class {path} is not one of ftlit, and is not imported because a run or a file names it; if you trust its code, "
        f"name it with --trust_classes {path}"
    )


def check_source(dataset: str, trust_classes: Iterable[str] | str | None) -> None:
    """Check that the rows that a folder names do not come from a function, unless the user has named it or it is `OWN_ROWS`.

    Raises:
        UserError: They do.
    """
    if FUNCTION.fullmatch(dataset) and dataset not in (*OWN_ROWS, *_listed(trust_classes)):
        raise UserError(
            f"data.dataset {dataset} is a function, and is not called because a run or a file names it; if you trust its code, "
            f"name it with --trust_classes {dataset}"
        )


def import_trusted(names: Iterable[str] | str | None) -> None:
    """Import the classes that the user trusts, so that a folder may name them.

    Raises:
        UserError: One does not exist.
    """
    wanted = _listed(names)
    if wanted:
        present_folder_last()
    for name in wanted:
        module, _, own = name.replace(":", ".").rpartition(".")
        try:
            getattr(import_module(module), own)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"trust_classes: {name!r} cannot be imported ({error}); expected a path such as my_task.Stars"
            ) from None


def _listed(names: Iterable[str] | str | None) -> Sequence[str]:
    return names.split(",") if isinstance(names, str) else list(names or ())


def present_folder_last() -> None:
    """Let classes of the user be found in the present folder, but nothing there replace an installed package."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
